package dial

import (
	"strings"
	"testing"
	"time"

	"github.com/tazzo/tazpod/init/wire"
)

func TestParseAsk(t *testing.T) {
	env := map[string]string{"TAZPOD_PROFILE": "dev", wire.AskOnly: "A,B", wire.AskTTL: "1h", wire.AskIdle: "5m"}
	none := func(string) string { return "" }
	got, err := ParseAsk("", nil, "", "", func(name string) string { return env[name] })
	if err != nil || got.User() != "ghost+dev" || strings.Join(got.Only, " ") != "A B" || got.TTL != time.Hour || got.Idle != 5*time.Minute {
		t.Errorf("ParseAsk() = %+v, %v; want what the environment says", got, err)
	}
	got, err = ParseAsk("prod", []string{"C", "D,E"}, "2h", "0", func(name string) string { return env[name] })
	if err != nil || got.User() != "ghost+prod" || got.TTL != 2*time.Hour || got.Idle != 0 {
		t.Errorf("ParseAsk(flags) = %+v, %v; want what the flags say", got, err)
	}
	if asked := got.environment(); len(asked) != 2 || asked[wire.AskOnly] != "C,D,E" || asked[wire.AskTTL] != "2h0m0s" {
		t.Errorf("environment() = %v", asked)
	}
	if got, err = ParseAsk("", nil, "", "", none); err != nil || got.User() != "ghost" || len(got.environment()) != 0 {
		t.Errorf("ParseAsk(nothing) = %+v, %v", got, err)
	}
	for name, value := range map[string]string{"TAZPOD_PROFILE": "Dev", wire.AskTTL: "soon", wire.AskIdle: "-1s"} {
		if got, err := ParseAsk("", nil, "", "", func(n string) string { return map[string]string{name: value}[n] }); err == nil {
			t.Errorf("ParseAsk(%s=%s) = %+v; want an error", name, value, got)
		}
	}
}
