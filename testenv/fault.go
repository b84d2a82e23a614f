package testenv

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
)

// Stop shuts the host down in order, as `systemctl poweroff` would, and waits for it.
func (h *Host) Stop(ctx context.Context) error {
	seconds := 60
	return h.fault("stop", h.lab.engine.ContainerStop(ctx, h.Container(), container.StopOptions{Timeout: &seconds}))
}

// Start boots a host that was stopped or killed and waits until it is ready. Its files are
// as they were, except below /run and /tmp.
func (h *Host) Start(ctx context.Context) error {
	if err := h.lab.engine.ContainerStart(ctx, h.Container(), container.StartOptions{}); err != nil {
		return h.fault("start", err)
	}
	return h.WaitReady(ctx)
}

// Kill ends the host at once, as a power cut would. Its connections just stop answering.
func (h *Host) Kill(ctx context.Context) error {
	return h.fault("kill", h.lab.engine.ContainerKill(ctx, h.Container(), "KILL"))
}

// Pause freezes every process of the host. Connections stay open and nothing answers.
func (h *Host) Pause(ctx context.Context) error {
	return h.fault("pause", h.lab.engine.ContainerPause(ctx, h.Container()))
}

// Unpause lets a paused host go on where it was.
func (h *Host) Unpause(ctx context.Context) error {
	return h.fault("unpause", h.lab.engine.ContainerUnpause(ctx, h.Container()))
}

func (h *Host) fault(what string, err error) error {
	if err != nil {
		return fmt.Errorf("cannot %s %s: %w", what, h.Name, err)
	}
	return nil
}

// removeContainer returns once the container is gone, also where somebody else is removing it: the engine refuses a second removal.
func (e *engine) removeContainer(ctx context.Context, id string) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	var refused error
	err := poll(ctx, 100*time.Millisecond, func(ctx context.Context) error {
		err := e.ContainerRemove(ctx, id, container.RemoveOptions{Force: true, RemoveVolumes: true})
		if errdefs.IsConflict(err) {
			return err
		}
		refused = err
		return nil
	})
	if err = errors.Join(err, refused); err != nil && !errdefs.IsNotFound(err) {
		return fmt.Errorf("cannot remove container %s: %w", id, err)
	}
	return nil
}
