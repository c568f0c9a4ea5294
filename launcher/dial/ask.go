package dial

import (
	"fmt"
	"strings"
	"time"

	"github.com/tazzo/tazpod/init/wire"
)

// Ask says which ghost a session is for. Its zero value means the default ghost.
type Ask struct {
	Profile   string        // shows only this group of the vault
	Only      []string      // names of secrets: a ghost of the session's own that shows only these
	TTL, Idle time.Duration // shorten the ghost's life; 0 says nothing
}

// ParseAsk reads the flags of the commands that open a ghost. For one that isn't
// given the environment may speak: TAZPOD_PROFILE, and the variables of package
// wire.
func ParseAsk(profile string, only []string, ttl, idle string, env func(string) string) (a Ask, err error) {
	for name, flag := range map[string]*string{"TAZPOD_PROFILE": &profile, wire.AskTTL: &ttl, wire.AskIdle: &idle} {
		if *flag == "" {
			*flag = env(name)
		}
	}
	if names := env(wire.AskOnly); len(only) == 0 && names != "" {
		only = []string{names}
	}
	if a.Profile = profile; profile != "" {
		if err := wire.CheckProfile(profile); err != nil {
			return a, err
		}
	}
	for _, names := range only {
		a.Only = append(a.Only, strings.Split(names, ",")...)
	}
	for _, limit := range []struct {
		flag, text string
		to         *time.Duration
	}{{"ttl", ttl, &a.TTL}, {"idle", idle, &a.Idle}} {
		if limit.text == "" {
			continue
		}
		if *limit.to, err = wire.ParseLimit(limit.text); err != nil {
			return a, fmt.Errorf("--%s: %w", limit.flag, err)
		}
	}
	return a, nil
}

// User is the name to log in with.
func (a Ask) User() string {
	if a.Profile == "" {
		return wire.GhostUser
	}
	return wire.GhostUser + wire.ProfileMark + a.Profile
}

// environment has the variables by which the pod is asked, with their values.
func (a Ask) environment() map[string]string {
	env := map[string]string{}
	if len(a.Only) > 0 {
		env[wire.AskOnly] = strings.Join(a.Only, ",")
	}
	if a.TTL > 0 {
		env[wire.AskTTL] = a.TTL.String()
	}
	if a.Idle > 0 {
		env[wire.AskIdle] = a.Idle.String()
	}
	return env
}
