package store

import (
	"path/filepath"
	"slices"
)

// TookBack notes that a run was taken back by hand on hosts, of which open could not be taken back as a whole. all says that these were all hosts of
// the run. The run is StillOpen as long as there are such hosts.
func (s *Store) TookBack(id string, hosts, open []string, all bool) error {
	m, err := s.Load(id)
	if err != nil {
		return err
	}
	after := m.State
	switch {
	case all:
		after = RolledBack
	case m.State == StillOpen:
		after = m.OpenAs
	}
	for i, w := range m.Identities {
		if slices.Contains(hosts, w.Host) && !slices.Contains(open, w.Host) {
			m.Identities[i].Altered = false // nothing is left of it
		}
	}
	m.Open = slices.DeleteFunc(m.Open, func(h string) bool { return slices.Contains(hosts, h) })
	m.Open = append(m.Open, open...)
	m.State, m.OpenAs = after, ""
	if len(m.Open) > 0 {
		m.State, m.OpenAs = StillOpen, after
	}
	return save(filepath.Join(s.dir, m.ID), m)
}
