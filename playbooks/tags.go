package playbooks

import "slices"

// MatchTags tells whether something with these tags runs under --tags only and --skip-tags skip. An empty only is ["all"].
// "always" runs unless it is skipped by name, "never" only when one of its tags is asked for by name; "tagged", "untagged" and
// "all" stand for what they say.
func MatchTags(tags, only, skip []string) bool {
	if len(only) == 0 {
		only = []string{"all"}
	}
	if len(tags) == 0 {
		tags = []string{"untagged"}
	}
	tagged := slices.ContainsFunc(tags, func(tag string) bool { return tag != "untagged" })
	has := func(tag string) bool { return slices.Contains(tags, tag) }
	asked := func(tag string) bool { return slices.Contains(only, tag) }
	skipped := func(tag string) bool { return slices.Contains(skip, tag) }
	runs := has("always") || asked("all") && !has("never") || slices.ContainsFunc(tags, asked) || asked("tagged") && tagged && !has("never")
	switch {
	case !runs:
		return false
	case skipped("all"):
		return has("always") && !skipped("always")
	case slices.ContainsFunc(tags, skipped):
		return false
	}
	return !skipped("tagged") || !tagged
}

// TagNames are the tags for one host; of a template that renders to a list each element is a tag. A nil render takes templates as they are written.
func (k *Keywords) TagNames(render Render) ([]string, error) {
	var names []string
	for _, tag := range k.Tags {
		t, isTemplate := tag.Template()
		if !isTemplate || render == nil {
			names = append(names, tag.Text())
			continue
		}
		v, err := render(t)
		if err != nil {
			return nil, err
		}
		names = append(names, tagTexts(v)...)
	}
	return names, nil
}

func tagTexts(v any) []string {
	list, ok := v.([]any)
	if !ok {
		list = []any{v}
	}
	var out []string
	for _, e := range list {
		if s, err := toString(e); err == nil {
			out = append(out, s)
		}
	}
	return out
}

// MatchTags is MatchTags for tags without templates, as listings and the start of a play use it.
func (k *Keywords) MatchTags(only, skip []string) bool {
	names, _ := k.TagNames(nil) // without render there are no errors
	return MatchTags(names, only, skip)
}
