package catalog_test

// offer26 offers the programs of Calico 2.6.6.
func (d *dcosLab) offer26(func(url string, content []byte)) {}

// images26 are the archives of its images.
func (d *dcosLab) images26(string) []any { return nil }
