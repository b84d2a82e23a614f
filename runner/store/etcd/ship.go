package etcd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sys/unix"
)

// Ship shares what has become of a run here since it was last shared or fetched, while nobody is at work on it. If another bastion has recorded the run
// since, that stays, and the next Fetch brings it.
func (s *State) Ship(ctx context.Context, dir, run string) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	folder := filepath.Join(dir, run)
	busy, err := lockFolder(folder, unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return nil // the run is being recorded here, and shared by who does so
	}
	if err != nil {
		return err
	}
	defer busy.Close()
	text, err := os.ReadFile(filepath.Join(folder, metaName))
	if err != nil {
		return err
	}
	p := &parcel{state: s, folder: folder, run: run, mark: readMark(folder)}
	p.holds = p.alone
	altered, err := p.altered(text)
	if altered && err == nil {
		err = p.shipAlone(ctx, text)
	}
	if err != nil {
		return fmt.Errorf("cannot share run %s with other bastions: %w", run, err)
	}
	return nil
}

// altered tells whether the folder has what etcd had not when both were last alike.
func (p *parcel) altered(text []byte) (bool, error) {
	if hash(text) != p.mark.Meta {
		return true, nil
	}
	names, err := grown(p.folder)
	for _, name := range names {
		lines, err := p.linesFrom(name, p.mark.Files[name])
		if err != nil || len(lines) > 0 {
			return true, err
		}
	}
	return false, err
}

func (p *parcel) linesFrom(name string, at int64) ([]byte, error) {
	f, err := os.Open(filepath.Join(p.folder, name))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return wholeLines(f, at)
}

// shipAlone ships without a claim. Whatever comes between is looked at before anything more is written. While somebody has a claim to the run nothing is
// shipped: that one records it, or was killed, and a later command finds the run free.
func (p *parcel) shipAlone(ctx context.Context, text []byte) error {
	for {
		h, err := p.state.look(ctx, p.run)
		if err == nil {
			err = p.unmoved(text, h)
		}
		if err != nil || h.claimed(p.run) {
			return err
		}
		if err := p.ship(ctx, text); !errors.Is(err, errGone) {
			return err
		}
	}
}

// unmoved goes on from what etcd has, if that is what it had when both were last alike.
func (p *parcel) unmoved(text []byte, h held) (err error) {
	p.at, p.full = h.now, h.full
	if p.mark, err = p.mark.goingOn(text, h); errors.Is(err, errMoved) {
		err = fmt.Errorf("%w, and that stays; look at it (calroll runs show %s), and do again what has to be done still", err, p.run)
	}
	return err
}

// alone is the condition that nothing of the run, and no claim, has come since the last look or what was written here since.
func (p *parcel) alone() []clientv3.Cmp {
	s := p.state
	meta := s.key("runs", p.run)
	return []clientv3.Cmp{s.none("locks", p.at), s.none("files/"+p.run, p.at), clientv3.Compare(clientv3.ModRevision(meta), "<", p.at+1),
		clientv3.Compare(clientv3.CreateRevision(meta), "=", p.mark.Born)}
}

// none is the condition that nothing below a key has come since a revision.
func (s *State) none(below string, since int64) clientv3.Cmp {
	return clientv3.Compare(clientv3.ModRevision(s.key(below, "")), "<", since+1).WithPrefix()
}
