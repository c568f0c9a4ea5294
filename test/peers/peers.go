// Package peers runs the test suites of tini and dumb-init with `tazpod-init run`
// in their place. The suites aren't part of this repository; the tests here find a
// checkout by path:
//
//	git clone https://github.com/krallin/tini
//	git clone https://github.com/Yelp/dumb-init
//	apt-get install python3-psutil python3-pytest python3-pytest-timeout gcc
//	TAZPOD_TINI=$PWD/tini TAZPOD_DUMB_INIT=$PWD/dumb-init go test -v ./test/peers
//
// What can't apply to us is listed here with the reason. A change that a suite
// doesn't need any more, and a listed test that passes, are errors. With -args -real
// the suites run, unchanged, with the tini and dumb-init on the PATH: then all of
// both has to pass.
//
// Of tini (0.19 and fifteen commits) every check of test/run_inner_tests.py passes,
// with the changes below; test/run_outer_tests.py, for Python 2 and tini's own
// images, isn't run. Of dumb-init 1.2.5's 182 tests 83 pass. Of the other 99, 87
// compare its messages word for word, 6 look for processes that outlive the init,
// and 6 want it to stop while its command runs on. dumb-init's suite doesn't see
// whether a signal reaches the whole group, since what is left is told to end
// anyway; tini's does.
package peers

// change is an edit of a suite's source.
type change struct{ old, new, reason string }

// tiniChanges are for test/run_inner_tests.py.
var tiniChanges = []change{
	{`"Reaped zombie process with pid="`, `"orphan reaped"`, "our log is JSON, with words of its own"},
	{`assert "zombie reaping won't work" in err, "No warning message was output!"`, "", "we adopt orphans without a flag, and have nothing to warn of"},
	{`assert ret == 1, "Reaping test succeeded (it should have failed)!"`, "assert ret == 0, err", "the same"},
}

// unfit are tests of dumb-init's suite, by the part of their names before any [.
var unfit = map[string]string{
	"child_processes_test.py::test_no_setsid_doesnt_signal_entire_group":                  "nothing survives us: what CMD leaves behind is told to end, then killed",
	"child_processes_test.py::test_all_processes_receive_term_on_exit_if_setsid":          "the same: it sends SIGKILL to a process that we have killed",
	"child_processes_test.py::test_processes_dont_receive_term_on_exit_if_no_setsid":      "the same",
	"child_processes_test.py::test_fails_nonzero_with_bad_exec":                           "127 and 126, as shells and tini have it, not 2",
	"cli_test.py::test_no_arguments_prints_usage":                                         "our own words, and status 2",
	"cli_test.py::test_exits_invalid_with_invalid_args":                                   "our own words, and status 2",
	"cli_test.py::test_help_message":                                                      "our own words, on stdout",
	"cli_test.py::test_version_message":                                                   "our own version, on stdout",
	"cli_test.py::test_verbose":                                                           "our log is JSON, with words of its own",
	"cli_test.py::test_verbose_and_single_child":                                          "the same",
	"cli_test.py::test_rewrite_errors":                                                    "our own words, and status 2",
	"proxies_signals_test.py::test_default_rewrites_can_be_overriden_with_setsid_enabled": "we stop when CMD has stopped, as a shell's job does, not when we are told to stop: a CMD that catches SIGTSTP decides",
	"shell_background_test.py::test_shell_background_support_setsid":                      "we stop when CMD has stopped",
	"shell_background_test.py::test_shell_background_support_without_setsid":              "we stop when CMD has stopped",
	"tty_test.py::test_sighup_sigcont_ignored_if_was_session_leader":                      "it looks at the log's words; CMD has the terminal before it runs, so there is no hand-over's signal to ignore",
}
