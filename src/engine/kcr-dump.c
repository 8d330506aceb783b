/*
 * kcr-dump: dumps one container where it runs, with its files of the same instant.
 *
 *   kcr-dump run <directory>       does what <directory>/job says
 *   kcr-dump recover <directory>   undoes what a kcr-dump left that was killed; 75 while one is still at work
 *
 * A third word is the number of a process of the host, 1 unless said.
 *
 * Started by kcr's agent, it leaves the agent's control groups and namespaces for those of the host's first process:
 * whatever becomes of the agent, a dump goes on to its end and the container runs again. It is two processes: one
 * works, the other watches, and lets the container run on if the worker dies or takes too long.
 *
 * The worker waits until no foreign process is in the container (one that does not descend from its first: an exec
 * probe, `kubectl exec`), freezes the container's control group, has the runtime dump it, copies what the container
 * has written to its root file system, lets it run on, and then packs the archive, which gets its name last.
 *
 * In the directory: `job` (lines `key=value`, see read_job; locked as long as anything works on it), `criu.conf` if the
 * pod asks for options of CRIU's (src/store/criu-options.ts), `step` (how far it is), `archive/` (what is packed),
 * `runtime.log`. On standard output a line for each step, and at last `done`, once
 * the archive is there, or `failed <code> <text>`; codes are those of `fail`. The directory is removed after `done`.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tar.h"

#define BUSY 75

/* ---- the job ---- */

static struct {
  char id[160];
  char runtime[PATH_MAX];
  char root[PATH_MAX];    /* the runtime's --root */
  char cgroup[PATH_MAX];  /* the container's, in the freezer's hierarchy (version 1) or the only one (version 2) */
  char upper[PATH_MAX];   /* of the overlay that is its root file system; empty: what it wrote is not saved */
  char log[PATH_MAX];     /* what it has written to its standard streams; may be missing */
  char archive[PATH_MAX]; /* what is made */
  char path[PATH_MAX];    /* PATH for the runtime */
  int init;               /* its first process, and when that began (field 22 of /proc/<pid>/stat) */
  unsigned long long began;
  int wait_ms;            /* longest wait for foreign processes to end */
  int pause_ms;           /* longest time that the container is kept from running */
  bool version2;
  bool systemd;
} job;

static bool read_job(int fd) {
  FILE *file = fdopen(dup(fd), "r");
  char line[PATH_MAX + 64];
  if (file == NULL) return false;
  struct {
    const char *key;
    char *text;
    size_t size;
  } texts[] = {
      {"id", job.id, sizeof job.id},          {"runtime", job.runtime, sizeof job.runtime},
      {"root", job.root, sizeof job.root},    {"cgroup", job.cgroup, sizeof job.cgroup},
      {"upper", job.upper, sizeof job.upper}, {"log", job.log, sizeof job.log},
      {"archive", job.archive, sizeof job.archive}, {"path", job.path, sizeof job.path},
  };
  while (fgets(line, sizeof line, file) != NULL) {
    line[strcspn(line, "\n")] = 0;
    char *value = strchr(line, '=');
    if (value == NULL) continue;
    *value++ = 0;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
      if (strcmp(line, texts[i].key) == 0) snprintf(texts[i].text, texts[i].size, "%s", value);
    if (strcmp(line, "init") == 0) job.init = atoi(value);
    if (strcmp(line, "began") == 0) job.began = strtoull(value, NULL, 10);
    if (strcmp(line, "wait_ms") == 0) job.wait_ms = atoi(value);
    if (strcmp(line, "pause_ms") == 0) job.pause_ms = atoi(value);
    if (strcmp(line, "cgroup_version") == 0) job.version2 = atoi(value) == 2;
    if (strcmp(line, "systemd") == 0) job.systemd = atoi(value) == 1;
  }
  fclose(file);
  return job.id[0] && job.runtime[0] && job.root[0] == '/' && job.cgroup[0] == '/' && job.archive[0] == '/' &&
         job.init > 1;
}

/* ---- what it says, and how far it is ---- */

enum step { WAITING, PAUSING, DUMPING, COPYING, RESUMED, PACKING, ENDED };
static const char *const step_names[] = {"waiting", "pausing", "dumping", "copying", "resumed", "packing", "ended"};

/* Between the worker and its watcher. */
static struct shared {
  volatile enum step step;
  volatile long long paused_at; /* in microseconds of the monotonic clock */
} *shared;

static long long now_us(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1000000LL + now.tv_nsec / 1000;
}

static void rest_ms(int ms) {
  struct timespec rest = {ms / 1000, ms % 1000 * 1000000L};
  nanosleep(&rest, NULL);
}

__attribute__((format(printf, 1, 2))) static void say(const char *format, ...) {
  char line[1024];
  va_list list;
  va_start(list, format);
  int length = vsnprintf(line, sizeof line - 1, format, list);
  va_end(list);
  if (length >= (int)sizeof line - 1) length = sizeof line - 2;
  for (int i = 0; i < length; i++)
    if ((unsigned char)line[i] < 0x20) line[i] = ' ';
  line[length++] = '\n';
  /* The agent may be gone: then nobody needs to know. */
  if (write(STDOUT_FILENO, line, length) < 0) return;
}

/* On disk before it is done, so that whoever finds it knows what may be frozen. */
static void enter(enum step step) {
  int fd = open("step", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (fd >= 0) {
    if (write(fd, step_names[step], strlen(step_names[step])) < 0) say("note the step cannot be written down");
    close(fd);
  }
  shared->step = step;
  say("step %s", step_names[step]);
}

/* ---- the container's control group ---- */

static bool write_text(const char *directory, const char *file, const char *text) {
  char path[PATH_MAX + 32];
  snprintf(path, sizeof path, "%s/%s", directory, file);
  int fd = open(path, O_WRONLY | O_CLOEXEC);
  if (fd < 0) return false;
  bool fine = write(fd, text, strlen(text)) >= 0;
  int error = errno;
  close(fd);
  errno = error;
  return fine;
}

static bool read_text(const char *directory, const char *file, char *text, size_t size) {
  char path[PATH_MAX + 32];
  snprintf(path, sizeof path, "%s/%s", directory, file);
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return false;
  ssize_t n = read(fd, text, size - 1);
  close(fd);
  text[n < 0 ? 0 : n] = 0;
  return n >= 0;
}

enum freeze { THAWED, FREEZING, FROZEN, NO_GROUP };

static enum freeze freezer(void) {
  char text[512];
  if (job.version2) {
    if (!read_text(job.cgroup, "cgroup.events", text, sizeof text)) return NO_GROUP;
    if (strstr(text, "frozen 1") != NULL) return FROZEN;
    return read_text(job.cgroup, "cgroup.freeze", text, sizeof text) && text[0] == '1' ? FREEZING : THAWED;
  }
  if (!read_text(job.cgroup, "freezer.state", text, sizeof text)) return NO_GROUP;
  return strncmp(text, "THAWED", 6) == 0 ? THAWED : strncmp(text, "FROZEN", 6) == 0 ? FROZEN : FREEZING;
}

static bool set_frozen(bool frozen) {
  return job.version2 ? write_text(job.cgroup, "cgroup.freeze", frozen ? "1" : "0")
                      : write_text(job.cgroup, "freezer.state", frozen ? "FROZEN" : "THAWED");
}

#define FREEZE_MS 5000
#define THAW_MS 5000

/*
 * On version 1 a group can stay FREEZING for ever, when a process was being born or slept in the wrong place: it is
 * let go and tried again, as runc does (libcontainer/cgroups/fs/freezer.go).
 */
static bool freeze(void) {
  long long end = now_us() + FREEZE_MS * 1000LL;
  for (int i = 1; now_us() < end; i++) {
    if (!job.version2 && i % 50 == 0) {
      set_frozen(false);
      rest_ms(1);
    }
    if ((!job.version2 || i == 1) && !set_frozen(true)) return false;
    enum freeze is = freezer();
    if (is == FROZEN) return true;
    if (is == NO_GROUP) return false;
    rest_ms(1);
  }
  return false;
}

/* Whether nobody has thawed it: on version 2 a group that is to be frozen takes a moment. */
static bool is_frozen(void) {
  long long end = now_us() + FREEZE_MS * 1000LL;
  enum freeze is;
  while ((is = freezer()) == FREEZING && now_us() < end) rest_ms(1);
  return is == FROZEN;
}

/* A group that is gone needs no thawing. */
static bool thaw(void) {
  long long end = now_us() + THAW_MS * 1000LL;
  for (;;) {
    set_frozen(false);
    enum freeze is = freezer();
    if (is == THAWED || is == NO_GROUP) return true;
    if (now_us() > end) return false;
    rest_ms(1);
  }
}

/* ---- who is in it ---- */

/* Fields of /proc/<pid>/stat: what follows the name, in which anything may stand. */
static bool stat_of(int pid, int *parent, char *state, unsigned long long *began) {
  char directory[64], text[1024];
  snprintf(directory, sizeof directory, "/proc/%d", pid);
  if (!read_text(directory, "stat", text, sizeof text)) return false;
  char *rest = strrchr(text, ')');
  return rest != NULL && sscanf(rest + 1,
                                " %c %d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d %*d %llu",
                                state, parent, began) == 3;
}

static bool is_running(void) {
  int parent;
  char state;
  unsigned long long began;
  return stat_of(job.init, &parent, &state, &began) && began == job.began && state != 'Z' && state != 'X';
}

static bool descends(int pid) {
  for (int depth = 0; depth < 10000 && pid > 1; depth++) {
    int parent;
    char state;
    unsigned long long began;
    if (pid == job.init) return true;
    /* One that has just ended is nobody any more. */
    if (!stat_of(pid, &parent, &state, &began) || state == 'Z' || state == 'X') return true;
    pid = parent;
  }
  return false;
}

/* A process of the group, or of one below it, that is not of the container's own tree; 0 when there is none. */
static int foreign_in(const char *cgroup) {
  char path[PATH_MAX + 32], line[32];
  snprintf(path, sizeof path, "%s/cgroup.procs", cgroup);
  FILE *file = fopen(path, "re");
  if (file == NULL) return 0;
  int foreign = 0;
  while (foreign == 0 && fgets(line, sizeof line, file) != NULL)
    if (!descends(atoi(line))) foreign = atoi(line);
  fclose(file);
  DIR *directory = foreign == 0 ? opendir(cgroup) : NULL;
  if (directory == NULL) return foreign;
  for (struct dirent *entry; foreign == 0 && (entry = readdir(directory)) != NULL;) {
    if (entry->d_type != DT_DIR || entry->d_name[0] == '.') continue;
    if (snprintf(path, sizeof path, "%s/%s", cgroup, entry->d_name) < PATH_MAX) foreign = foreign_in(path);
  }
  closedir(directory);
  return foreign;
}

/* ---- out of the agent's container ---- */

/* Of the host's, the first. */
static int host = 1;

static bool join_namespaces(void) {
  static const char *const kinds[] = {"cgroup", "ipc", "uts", "net", "mnt"};
  int fds[5];
  for (int i = 0; i < 5; i++) {
    char path[32];
    snprintf(path, sizeof path, "/proc/%d/ns/%s", host, kinds[i]);
    fds[i] = open(path, O_RDONLY | O_CLOEXEC);
    if (fds[i] < 0) return false;
  }
  for (int i = 0; i < 5; i++)
    if (setns(fds[i], 0) != 0) return false;
  return true;
}

static bool names_controller(const char *list, const char *name, size_t length) {
  for (const char *at = list; at != NULL; at = strchr(at, ',')) {
    if (*at == ',') at++;
    if (strcspn(at, ",\n") == length && strncmp(at, name, length) == 0) return true;
  }
  return false;
}

/* Where a hierarchy is mounted, by its line in /proc/<pid>/cgroup: "4:memory:/path", of version 2 "0::/path". */
static bool mount_of(const char *controllers, size_t length, char *point, size_t size, char *root) {
  FILE *file = fopen("/proc/self/mountinfo", "re");
  char line[8192];
  bool found = false;
  while (file != NULL && !found && fgets(line, sizeof line, file) != NULL) {
    char type[64], options[4096], *dash = strstr(line, " - ");
    char at[PATH_MAX], from[PATH_MAX];
    if (dash == NULL || sscanf(dash, " - %63s %*s %4095s", type, options) != 2 ||
        sscanf(line, "%*d %*d %*s %4095s %4095s", from, at) != 2)
      continue;
    if (length == 0 ? strcmp(type, "cgroup2") != 0
                    : strcmp(type, "cgroup") != 0 || !names_controller(options, controllers, length))
      continue;
    found = true;
    snprintf(point, size, "%s", at);
    snprintf(root, PATH_MAX, "%s", from);
  }
  if (file != NULL) fclose(file);
  return found;
}

/* Joins the control groups of the host's first process. True once it is no longer in those of the agent. */
static bool leave_cgroups(void) {
  char was[8192], is[8192], line[PATH_MAX + 256], home[32], groups[64];
  snprintf(home, sizeof home, "/proc/%d", host);
  snprintf(groups, sizeof groups, "%s/cgroup", home);
  if (!read_text("/proc/self", "cgroup", was, sizeof was)) return false;
  FILE *file = fopen(groups, "re");
  if (file == NULL) return false;
  bool one = false;
  while (fgets(line, sizeof line, file) != NULL) {
    line[strcspn(line, "\n")] = 0;
    char *controllers = strchr(line, ':');
    char *path = controllers == NULL ? NULL : strchr(controllers + 1, ':');
    if (path == NULL) continue;
    controllers++;
    size_t length = strcspn(controllers, ",:");
    path++;
    char point[PATH_MAX], root[PATH_MAX], directory[2 * PATH_MAX + 8];
    if (!mount_of(controllers, length, point, sizeof point, root)) continue;
    /* A hierarchy of which only a part is mounted. */
    size_t skip = strcmp(root, "/") == 0 ? 0 : strlen(root);
    if (strncmp(path, root, skip) != 0) continue;
    snprintf(directory, sizeof directory, "%s%s", point, path + skip);
    if (write_text(directory, "cgroup.procs", "0")) one = true;
  }
  fclose(file);
  if (!one || !read_text("/proc/self", "cgroup", is, sizeof is)) return false;
  return strcmp(was, is) != 0 || (read_text(home, "cgroup", was, sizeof was) && strcmp(was, is) == 0);
}

/* ---- the worker ---- */

__attribute__((noreturn, format(printf, 2, 3))) static void fail(const char *code, const char *format, ...) {
  char text[700];
  va_list list;
  va_start(list, format);
  vsnprintf(text, sizeof text, format, list);
  va_end(list);
  bool runs = shared->step == WAITING || shared->step >= RESUMED || thaw();
  /* Else whoever comes next tries again. */
  if (runs) enter(ENDED);
  say("failed %s %s%s", code, text, runs ? "" : " - and the container could not be let run on");
  _exit(1);
}

static int run_runtime(char **argv, const char *criu_config) {
  pid_t pid = fork();
  if (pid < 0) return -1;
  if (pid == 0) {
    int log = open("runtime.log", O_WRONLY | O_CREAT | O_TRUNC, 0600), null = open("/dev/null", O_RDWR);
    dup2(null, STDIN_FILENO);
    dup2(log, STDOUT_FILENO);
    dup2(log, STDERR_FILENO);
    signal(SIGPIPE, SIG_DFL);
    if (chdir("/") != 0 || clearenv() != 0 || setenv("PATH", job.path, 1) != 0 ||
        (criu_config != NULL && setenv("CRIU_CONFIG_FILE", criu_config, 1) != 0))
      _exit(127);
    execvp(argv[0], argv);
    dprintf(STDERR_FILENO, "%s: %s\n", argv[0], strerror(errno));
    _exit(127);
  }
  int status;
  while (waitpid(pid, &status, 0) < 0)
    if (errno != EINTR) return -1;
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static void pause_container(void) {
  long long end = now_us() + job.wait_ms * 1000LL;
  enter(WAITING);
  for (bool told = false;; rest_ms(50)) {
    if (!is_running()) fail("Gone", "the container does not run any more");
    int foreign = foreign_in(job.cgroup);
    enum freeze is = freezer();
    if (is == NO_GROUP) fail("Gone", "%s: %s", job.cgroup, strerror(errno));
    if (foreign == 0 && is == THAWED) {
      shared->paused_at = now_us();
      enter(PAUSING);
      if (!freeze()) {
        if (!is_running()) fail("Gone", "the container does not run any more");
        fail("NotFrozen", "the container's processes did not stop within %d ms", FREEZE_MS);
      }
      foreign = foreign_in(job.cgroup);
      if (foreign == 0) return;
      thaw();
      enter(WAITING);
    }
    if (foreign != 0 && !told) say("foreign %d", foreign), told = true;
    if (now_us() <= end) continue;
    if (foreign != 0)
      fail("Foreign", "process %d, which the container did not start, has been in it for %d ms", foreign, job.wait_ms);
    fail("Paused", "somebody else has kept the container paused for %d ms", job.wait_ms);
  }
}

/* In comments of that file, a line each, stand flags for the runtime: cut out of `text`, which has to stay. */
#define MAX_FLAGS 8
static int flags_in(char *text, char **flags) {
  int n = 0;
  for (char *line = strtok(text, "\n"); line != NULL && n < MAX_FLAGS; line = strtok(NULL, "\n"))
    if (strncmp(line, "# --", 4) == 0) flags[n++] = line + 2;
  return n;
}

static void dump(const char *directory) {
  char work[PATH_MAX + 16], images[PATH_MAX + 32], log[PATH_MAX + 16], config[PATH_MAX + 16], options[4096];
  enter(DUMPING);
  snprintf(work, sizeof work, "%s/archive", directory);
  snprintf(images, sizeof images, "%s/checkpoint", work);
  snprintf(log, sizeof log, "%s/runtime.json", directory);
  if (mkdir(images, 0700) != 0) fail("Files", "%s: %s", images, strerror(errno));
  snprintf(config, sizeof config, "%s/criu.conf", directory);
  bool configured = read_text(directory, "criu.conf", options, sizeof options);
  char *argv[20 + MAX_FLAGS];
  int n = 0;
  argv[n++] = job.runtime;
  argv[n++] = "--root";
  argv[n++] = job.root;
  argv[n++] = "--log";
  argv[n++] = log;
  argv[n++] = "--log-format";
  argv[n++] = "json";
  if (job.systemd) argv[n++] = "--systemd-cgroup";
  argv[n++] = "checkpoint";
  argv[n++] = "--image-path";
  argv[n++] = images;
  argv[n++] = "--work-path";
  argv[n++] = work;
  argv[n++] = "--leave-running";
  if (configured) n += flags_in(options, argv + n);
  argv[n++] = job.id;
  argv[n] = NULL;
  int code = run_runtime(argv, configured ? config : NULL);
  if (code != 0) fail("Runtime", "%s checkpoint ended with %d", job.runtime, code);
  /* Whoever restores needs it too. */
  if (configured && rename(config, "archive/checkpoint/kcr-criu.conf") != 0) fail("Files", "%s: %s", config, strerror(errno));
  /* CRIU has thawed it to stop its processes one by one, and frozen it again before it let go of them. */
  if (!is_frozen()) fail("Runtime", "the container was let run on before its files were saved");
}

static uint64_t size_of(const char *path) {
  struct stat info;
  return stat(path, &info) == 0 ? info.st_size : 0;
}

static void copy_files(uint64_t *copied, long long *took) {
  enter(COPYING);
  long long began = now_us();
  char why[256] = "";
  *copied = size_of("archive/checkpoint/kcr-volumes.tar");
  if (job.upper[0] != 0) {
    struct tar tar = {.fd = open("archive/rootfs-diff.tar", O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600)};
    if (tar.fd < 0 || !tar_upper(&tar, job.upper, why) || !tar_finish(&tar) || close(tar.fd) != 0)
      fail("Files", "%s", why[0] != 0 ? why : strerror(errno));
    *copied += tar.content;
  }
  *took = now_us() - began;
}

static void resume(long long *paused) {
  if (!thaw()) fail("NotThawed", "the container could not be let run on");
  *paused = now_us() - shared->paused_at;
  enter(RESUMED);
}

static int by_name(const struct dirent **a, const struct dirent **b) { return strcmp((*a)->d_name, (*b)->d_name); }

/* Regular files of a directory, as the archive's entries. */
static bool pack_files(struct tar *tar, const char *directory, const char *prefix) {
  struct dirent **entries;
  int count = scandir(directory, &entries, NULL, by_name);
  if (count < 0) return false;
  bool fine = true;
  for (int i = 0; i < count; i++) {
    char path[2 * PATH_MAX], name[PATH_MAX];
    snprintf(path, sizeof path, "%s/%s", directory, entries[i]->d_name);
    snprintf(name, sizeof name, "%s%s", prefix, entries[i]->d_name);
    int fd = fine ? open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC) : -1;
    struct stat info;
    if (fd >= 0 && fstat(fd, &info) == 0 && S_ISREG(info.st_mode)) fine = tar_file(tar, name, fd, 0600);
    if (fd >= 0) close(fd);
    free(entries[i]);
  }
  free(entries);
  return fine;
}

static void pack(const char *half) {
  enter(PACKING);
  struct tar tar = {.fd = open(half, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600)};
  struct stat directory = {.st_mode = 0700};
  int log = job.log[0] == 0 ? -1 : open(job.log, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
  bool fine = tar.fd >= 0 && pack_files(&tar, "archive", "") &&
              (log < 0 || tar_file(&tar, "container.log", log, 0600)) &&
              tar_header(&tar, "checkpoint/", '5', &directory, 0, NULL, NULL, 0) &&
              pack_files(&tar, "archive/checkpoint", "checkpoint/") && tar_finish(&tar) && close(tar.fd) == 0 &&
              rename(half, job.archive) == 0;
  if (fine) return;
  int error = errno;
  unlink(half);
  fail("Pack", "%s: %s", job.archive, strerror(error));
}

/* What the archive says of how it came about: read by src/archive/direct.ts. */
static void describe(long long paused, uint64_t copied, long long took) {
  FILE *file = fopen("archive/kcr-dump.json", "we");
  if (file == NULL) fail("Files", "kcr-dump.json: %s", strerror(errno));
  fprintf(file, "{\"version\":1,\"pausedMicroseconds\":%lld,\"copiedBytes\":%llu,\"copyMicroseconds\":%lld}\n", paused,
          (unsigned long long)copied, took);
  if (fclose(file) != 0) fail("Files", "kcr-dump.json: %s", strerror(errno));
}

/* The archive under the name that it has until it is whole. */
static void half_name(char *half, size_t size) {
  char directory[PATH_MAX];
  snprintf(directory, sizeof directory, "%s", job.archive);
  char *slash = strrchr(directory, '/');
  *slash = 0;
  snprintf(half, size, "%s/.%s.part", directory, job.id);
}

static int remove_one(const char *path, const struct stat *info, int type, struct FTW *walk) {
  (void)info, (void)type, (void)walk;
  return remove(path);
}

static void remove_tree(const char *path) { nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT); }

__attribute__((noreturn)) static void work(const char *directory) {
  char half[2 * PATH_MAX];
  uint64_t copied;
  long long took, paused;
  half_name(half, sizeof half);
  pause_container();
  dump(directory);
  copy_files(&copied, &took);
  resume(&paused);
  describe(paused, copied, took);
  pack(half);
  enter(ENDED);
  say("done");
  /* Nobody waits for that: of much memory it takes a while. */
  if (chdir("/") == 0) remove_tree(directory);
  _exit(0);
}

/* ---- the watcher ---- */

#define END_MS 5000

static bool is_paused(enum step step) { return step > WAITING && step < RESUMED; }

/* Ends the worker, the runtime and CRIU, and waits until they are gone: CRIU freezes what was frozen when it began. */
static void end_group(pid_t worker) {
  kill(-worker, SIGKILL);
  /* All that it left are children of this process now. One that hangs in the kernel is not waited for for ever. */
  for (int i = 0; i < END_MS; i++) {
    pid_t ended = waitpid(-1, NULL, WNOHANG);
    if (ended < 0 && errno == ECHILD) return;
    if (ended == 0) rest_ms(1);
  }
}

static int watch(pid_t worker) {
  int status;
  for (;;) {
    pid_t ended = waitpid(worker, &status, WNOHANG);
    if (ended == worker) break;
    if (is_paused(shared->step) && now_us() - shared->paused_at > job.pause_ms * 1000LL) {
      end_group(worker);
      fail("TooLong", "the container was paused for %d ms, and the dump was given up", job.pause_ms);
    }
    /* The end of the worker wakes it. */
    sigset_t child;
    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    struct timespec rest = {.tv_nsec = 100000000};
    sigtimedwait(&child, NULL, &rest);
  }
  if (WIFEXITED(status)) return WEXITSTATUS(status);
  end_group(worker);
  fail("Killed", "the dump was ended by signal %d", WTERMSIG(status));
}

/* ---- commands ---- */

/* Opens the job and locks it; the runtime inherits that, so that it counts as long as CRIU may freeze anything. */
static int lock_job(const char *directory) {
  if (chdir(directory) != 0) return -1;
  int fd = open("job", O_RDONLY | O_NOFOLLOW);
  if (fd < 0) return -1;
  if (flock(fd, LOCK_EX | LOCK_NB) != 0) exit(BUSY);
  return fd;
}

static int run(const char *directory) {
  int fd = lock_job(directory);
  if (fd < 0 || !read_job(fd)) fail("Job", "%s has no job", directory);
  sigset_t child;
  sigemptyset(&child);
  sigaddset(&child, SIGCHLD);
  sigprocmask(SIG_BLOCK, &child, NULL);
  prctl(PR_SET_CHILD_SUBREAPER, 1);
  pid_t worker = fork();
  if (worker < 0) fail("Job", "fork: %s", strerror(errno));
  if (worker == 0) {
    setpgid(0, 0);
    sigprocmask(SIG_UNBLOCK, &child, NULL);
    work(directory);
  }
  setpgid(worker, worker);
  return watch(worker);
}

static int recover(const char *directory) {
  if (access(directory, F_OK) != 0) return 0;
  int fd = lock_job(directory);
  if (fd >= 0 && read_job(fd)) {
    char step[32] = "", half[2 * PATH_MAX];
    bool known = read_text(".", "step", step, sizeof step);
    bool frozen = false;
    for (enum step one = PAUSING; one < RESUMED; one++) frozen |= known && strcmp(step, step_names[one]) == 0;
    if (frozen && !thaw()) {
      say("failed NotThawed the container could not be let run on");
      return 1;
    }
    if (frozen) say("thawed");
    half_name(half, sizeof half);
    unlink(half);
  }
  if (chdir("/") != 0) return 1;
  remove_tree(directory);
  return access(directory, F_OK) == 0 ? 1 : 0;
}

int main(int argc, char **argv) {
  bool running = argc >= 3 && strcmp(argv[1], "run") == 0;
  if (argc > 4 || (!running && !(argc >= 3 && strcmp(argv[1], "recover") == 0))) {
    fputs("usage: kcr-dump run|recover <directory> [<process of the host>]\n", stderr);
    return 2;
  }
  if (argc == 4) host = atoi(argv[3]);
  signal(SIGPIPE, SIG_IGN);
  umask(077);
  shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (shared == MAP_FAILED) return 1;
  if (!join_namespaces() || !leave_cgroups()) {
    say("failed NoHost the host's namespaces and control groups cannot be joined: %s", strerror(errno));
    return 1;
  }
  setsid();
  return running ? run(argv[2]) : recover(argv[2]);
}
