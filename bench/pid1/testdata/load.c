// Times an init, and is what runs under it. INIT … starts as the first process of
// a PID namespace of its own.
//
//	load time INIT …             microseconds to the child's start, and from the child's end to INIT's
//	load signals N INIT …        microseconds from each of N kills to the child's handler
//	load stream|burst N INIT …   milliseconds until N orphans are gone, ms of INIT's CPU, most zombies at once
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <glob.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

// Descriptors by which the child hears and speaks.
enum { ear = 8, mouth = 9 };

enum { most_orphans = 1 << 20, atOnce = 2000 };

extern char **environ;

static double now(void) { // microseconds
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1e6 + t.tv_nsec / 1e3;
}

static void check(int ok, const char *what) {
	if (!ok) {
		perror(what);
		exit(1);
	}
}

static void say(int fd, double a) { check(write(fd, &a, sizeof a) == sizeof a, "write"); }

static double hear(int fd) {
	double a;
	check(read(fd, &a, sizeof a) == sizeof a, "the other side is gone: read");
	return a;
}

// The child.

static void handler(int number) {
	(void)number;
	say(mouth, now());
}

static volatile int mostZombies, stop;

static void *countZombies(void *unused) {
	(void)unused;
	while (!stop) {
		int zombies = 0;
		DIR *d = opendir("/proc");
		check(d != NULL, "/proc");
		for (struct dirent *e; (e = readdir(d));) {
			char name[300], state = 0;
			if (e->d_name[0] < '0' || e->d_name[0] > '9')
				continue;
			snprintf(name, sizeof name, "/proc/%s/stat", e->d_name);
			FILE *f = fopen(name, "r");
			if (!f)
				continue;
			if (fscanf(f, "%*d (%*[^)]) %c", &state) == 1 && state == 'Z')
				zombies++;
			fclose(f);
		}
		closedir(d);
		if (zombies > mostZombies)
			mostZombies = zombies;
		usleep(1000);
	}
	return NULL;
}

// orphan forks a process whose parent ends at once. It ends when the pipe's
// other end is closed, or, without a pipe, at once.
static pid_t orphan(int *pipe) {
	static volatile pid_t pid; // in memory that vfork shares
	pid_t middle = vfork();
	if (middle == 0) {
		pid = fork();
		if (pid == 0) {
			char c;
			if (pipe) {
				close(pipe[1]);
				read(pipe[0], &c, 1);
			}
			_exit(0);
		}
		_exit(pid < 0);
	}
	int status;
	check(middle > 0 && waitpid(middle, &status, 0) == middle && status == 0, "fork"); // this one is ours, not INIT's
	return pid;
}

static void awaitGone(pid_t *pids, int n) {
	for (int i = 0; i < n; i++)
		while (kill(pids[i], 0) == 0)
			usleep(50);
}

static void orphans(int n, int burst) {
	static pid_t pids[most_orphans];
	pthread_t counter;
	double took = 0;
	check(unshare(CLONE_NEWNS) == 0 && mount("", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
	          mount("proc", "/proc", "proc", 0, NULL) == 0,
	      "mount /proc");
	hear(ear);
	if (burst) // they all are zombies at once; counting would only be in the way
		stop = 1;
	check(pthread_create(&counter, NULL, countZombies, NULL) == 0, "pthread_create");
	for (int done = 0; done < n;) {
		int p[2], many = burst && n - done > atOnce ? atOnce : n - done;
		check(pipe(p) == 0, "pipe");
		double before = now();
		for (int i = 0; i < many; i++)
			pids[i] = orphan(burst ? p : NULL);
		if (burst)
			before = now();
		close(p[1]);
		awaitGone(pids, many);
		took += now() - before;
		close(p[0]);
		done += many;
	}
	stop = 1;
	pthread_join(counter, NULL);
	say(mouth, took / 1e3);
	say(mouth, mostZombies);
	hear(ear);
}

static void child(char *mode, int n) {
	double started = now();
	say(mouth, started);
	if (!strcmp(mode, "time"))
		say(mouth, now());
	else if (!strcmp(mode, "signals")) {
		signal(SIGUSR1, handler);
		say(mouth, 0);
		for (;;)
			pause();
	} else
		orphans(n, !strcmp(mode, "burst"));
	_exit(0);
}

// The driver.

// cpu is what all threads of a process have used, in milliseconds
// (Documentation/scheduler/sched-stats.rst).
static double cpu(pid_t pid) {
	char pattern[64];
	double sum = 0, ns;
	glob_t g;
	snprintf(pattern, sizeof pattern, "/proc/%d/task/*/schedstat", pid);
	check(glob(pattern, 0, NULL, &g) == 0, pattern);
	for (size_t i = 0; i < g.gl_pathc; i++) {
		FILE *f = fopen(g.gl_pathv[i], "r");
		check(f && fscanf(f, "%lf", &ns) == 1, g.gl_pathv[i]);
		fclose(f);
		sum += ns / 1e6;
	}
	globfree(&g);
	return sum;
}

int main(int argc, char **argv) {
	check(argc > 2, "usage: load MODE [N] INIT …");
	char *mode = argv[1];
	int n = atoi(argv[2]);
	if (mode[0] == '_')
		child(mode + 1, n);
	check(n < most_orphans, "N");
	char **init = argv + (strcmp(mode, "time") ? 3 : 2);

	int toChild[2], toUs[2];
	check(pipe2(toChild, O_CLOEXEC) == 0 && pipe2(toUs, O_CLOEXEC) == 0 && dup2(toChild[0], ear) == ear && dup2(toUs[1], mouth) == mouth, "pipe");
	double before = now();
	pid_t pid = syscall(SYS_clone, CLONE_NEWPID | SIGCHLD, 0, 0, 0, 0);
	if (pid == 0) {
		execve(init[0], init, environ);
		_exit(127);
	}
	check(pid > 0, "clone");
	close(ear);
	close(mouth);
	close(toUs[1]);
	double started = hear(toUs[0]);
	if (!strcmp(mode, "time")) {
		check(waitpid(pid, NULL, 0) == pid, "waitpid");
		double end = now(), last = hear(toUs[0]);
		printf("%.1f %.1f\n", started - before, end - last);
		return 0;
	}
	usleep(1500000); // INIT comes to rest
	if (!strcmp(mode, "signals")) {
		hear(toUs[0]);
		for (int i = 0; i < n; i++) {
			usleep(3000);
			double sent = now();
			kill(pid, SIGUSR1);
			printf("%.1f\n", hear(toUs[0]) - sent);
		}
	} else {
		double used = cpu(pid);
		say(toChild[1], 0);
		double took = hear(toUs[0]), zombies = hear(toUs[0]);
		printf("%.1f %.1f %.0f\n", took, cpu(pid) - used, zombies);
	}
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}
