package history

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"slices"
	"strconv"
	"time"

	"tideover/supervisor/api"
)

// Query selects records.
type Query struct {
	After uint64    // only those with a greater id
	Since time.Time // not older
	Last  int       // of those that exist already, at most so many; 0: all; negative: none
	// Match selects; nil: all.
	Match  func(api.Record) bool
	Follow bool // also those that come later, until ctx ends
}

// choose returns those of the records that the query selects. It always selects those that say that
// others were lost.
func (q Query) choose(records []api.Record) (chosen []api.Record) {
	for _, r := range records {
		if !r.Time.Before(q.Since) && (q.Match == nil || r.Kind == api.RecordsLost || q.Match(r)) {
			chosen = append(chosen, r)
		}
	}
	return chosen
}

// Read yields records, the oldest first, until there are no more, yield returns false, or ctx ends,
// which is no error. Those that were added before are among them, unless the disk does not answer. Where records are not kept any more that were asked for by After, or that a slow
// reader has not taken in time, one of the kind RecordsLost says how many.
func (s *Store) Read(ctx context.Context, q Query, yield func(api.Record) bool) error {
	select {
	case <-s.loaded:
	case <-s.ended:
	case <-ctx.Done():
		return nil
	}
	_ = s.flush(ctx) // what is not written is not known
	records, err := s.after(ctx, q.After, q.After > 0)
	if err != nil {
		return err
	}
	chosen := q.choose(records)
	if q.Last != 0 {
		chosen = chosen[max(0, len(chosen)-max(0, q.Last)):]
	}
	for position := q.After; ; {
		if n := len(records); n > 0 {
			position = records[n-1].ID
		}
		for _, r := range chosen {
			if ctx.Err() != nil || !yield(r) {
				return nil
			}
		}
		if !q.Follow {
			return nil
		}
		if records, err = s.await(ctx, position); err != nil || len(records) == 0 {
			return err
		}
		chosen = q.choose(records)
	}
}

// await returns the records behind id, at least one; none when ctx has ended or the store is closed.
func (s *Store) await(ctx context.Context, id uint64) ([]api.Record, error) {
	for {
		s.mu.Lock()
		last, wake := s.last, s.wake
		s.mu.Unlock()
		if last > id {
			return s.after(ctx, id, true)
		}
		select {
		case <-wake:
		case <-s.ended:
			if s.newest() <= id {
				return nil, nil
			}
		case <-ctx.Done():
			return nil, nil
		}
	}
}

// after returns the records behind id. With exact, records that are missing in front are told.
func (s *Store) after(ctx context.Context, id uint64, exact bool) ([]api.Record, error) {
	s.mu.Lock()
	recent := s.recent
	s.mu.Unlock()
	if len(recent) > 0 && (recent[0].ID <= id+1) {
		i, _ := slices.BinarySearchFunc(recent, id+1, func(r api.Record, id uint64) int { return int(int64(r.ID - id)) })
		return recent[i:len(recent):len(recent)], nil
	}
	records, err := s.readAside(ctx, id)
	if err != nil {
		return nil, err
	}
	if exact && len(records) > 0 && records[0].ID > id+1 {
		gone := api.Record{ID: records[0].ID - 1, Time: records[0].Time, Kind: api.RecordsLost, Count: records[0].ID - id - 1, Cause: "they are not kept any more"}
		records = slices.Insert(records, 0, gone)
	}
	return records, nil
}

// readAside reads the files in a goroutine of its own: a disk may not answer.
func (s *Store) readAside(ctx context.Context, id uint64) (records []api.Record, err error) {
	type result struct {
		records []api.Record
		err     error
	}
	done := make(chan result, 1)
	go func() { // ends with the disk's answer
		records, err := s.readFiles(id)
		done <- result{records, err}
	}()
	select {
	case r := <-done:
		return r.records, r.err
	case <-ctx.Done():
		return nil, nil
	}
}

func (s *Store) newest() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.last
}

// readFiles returns the records behind id that the files have. Lines that are no record are passed
// over, and those with an id that is not greater than the one before.
func (s *Store) readFiles(id uint64) ([]api.Record, error) {
	paths := []string{}
	for n := backups; n > 0; n-- {
		paths = append(paths, s.path+"."+strconv.Itoa(n))
	}
	s.files.Lock()
	reads := s.opener.ReadFiles(append(paths, s.path))
	s.files.Unlock()
	var records []api.Record
	for _, read := range reads {
		switch {
		case errors.Is(read.Err, fs.ErrNotExist):
			continue
		case read.Err != nil:
			return nil, read.Err
		}
		for line := range bytes.Lines(read.Text) {
			var r api.Record
			if json.Unmarshal(line, &r) == nil && r.ID > id && r.Kind != "" {
				records, id = append(records, r), r.ID
			}
		}
	}
	return records, nil
}
