/*
 * kcr-runtime: the OCI runtime of RuntimeClass `kcr`. It stands in front of the real runtime (runc) and passes
 * every call on to it, but for a `create` that has a plan: that goes to the Node part, which restores.
 *
 * It is on the path of every container of its class, so it is small, static and does without a heap of its own
 * making: what it cannot understand is the real runtime's business. No fault of ours may keep a container from
 * starting: whatever goes wrong here, or in the Node part before it restored, ends in the real `create`.
 *
 * Beside it lie kcr-runtime.conf (lines `key=value`), lib/ (Node, its libraries, the loader) and runtime.mjs.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

#if defined(__x86_64__)
#define LOADER "ld-linux-x86-64.so.2"
#elif defined(__aarch64__)
#define LOADER "ld-linux-aarch64.so.1"
#else
#error "this architecture's loader is not known"
#endif

/* A config.json of containerd has some 10 KB; one beyond this is not looked into. */
#define MAX_CONFIG (16 << 20)
/* How the Node part ends: it restored (0), the real `create` shall run, `create` shall fail. */
#define EXIT_CREATE 100
#define EXIT_REFUSED 101
/* Where the Node part finds the container's own standard streams; its own lead nowhere. */
#define FIRST_STREAM 20

static char home[PATH_MAX];
static char runtime[PATH_MAX] = "runc";
static char state[PATH_MAX] = "/var/lib/kcr";
static int patience = 110;
static bool disabled = false;

/* ---- configuration ---- */

static void read_conf(void) {
  ssize_t length = readlink("/proc/self/exe", home, sizeof home - 1);
  if (length <= 0) return;
  home[length] = 0;
  char *slash = strrchr(home, '/');
  if (slash == NULL) return;
  *slash = 0;
  char path[PATH_MAX + 32], line[PATH_MAX + 64];
  snprintf(path, sizeof path, "%s/kcr-runtime.conf", home);
  FILE *file = fopen(path, "re");
  if (file == NULL) return;
  int wait = 60, restore = 100;
  while (fgets(line, sizeof line, file) != NULL) {
    line[strcspn(line, "\n")] = 0;
    char *value = strchr(line, '=');
    if (value == NULL || value[1] == 0) continue;
    *value++ = 0;
    if (strcmp(line, "runtime") == 0) snprintf(runtime, sizeof runtime, "%s", value);
    if (strcmp(line, "state") == 0) snprintf(state, sizeof state, "%s", value);
    if (strcmp(line, "disabled") == 0) disabled = strcmp(value, "1") == 0;
    if (strcmp(line, "wait_seconds") == 0) wait = atoi(value);
    if (strcmp(line, "restore_seconds") == 0) restore = atoi(value);
  }
  fclose(file);
  /* The Node part keeps to the longer of them; the kubelet waits for 120 s. */
  patience = (wait > restore ? wait : restore) + 10;
}

/* ---- the real runtime ---- */

static void run_real(char **argv) {
  argv[0] = runtime;
  execvp(runtime, argv);
  fprintf(stderr, "kcr-runtime: %s: %s\n", runtime, strerror(errno));
  exit(127);
}

/* ---- arguments ---- */

struct call {
  int command; /* index in argv; 0: none was found, or not for sure */
  const char *id;
  const char *bundle;
  const char *root; /* where the real runtime keeps its containers */
  const char *log; /* where the caller looks for the reason of an error */
  bool all;   /* kill --all */
  bool odd;   /* something that a restore cannot carry over */
};

static bool is_one_of(const char *flag, const char *const *list) {
  for (; *list != NULL; list++)
    if (strcmp(flag, *list) == 0) return true;
  return false;
}

/* Flags that are followed by their value, as runc 1.x and crun 1.x have them. */
static const char *const global_values[] = {"root", "log", "log-format", "criu", "rootless", "cgroup-manager", NULL};
static const char *const global_bools[] = {"debug", "systemd-cgroup", NULL};
static const char *const create_values[] = {"bundle", "b", "console-socket", "pid-file", NULL};
static const char *const create_bools[] = {"no-pivot", "no-new-keyring", NULL};
static const char *const checkpoint_values[] = {"image-path",  "work-path",           "parent-path", "status-fd",
                                                "page-server", "manage-cgroups-mode", "empty-ns",    NULL};

/* Name of a flag without dashes, up to '='; NULL for what is no flag. */
static const char *flag_name(const char *word, char *name, size_t size, const char **value) {
  if (word[0] != '-' || word[1] == 0) return NULL;
  word += word[1] == '-' ? 2 : 1;
  size_t length = strcspn(word, "=");
  if (length >= size) return NULL;
  memcpy(name, word, length);
  name[length] = 0;
  *value = word[length] == '=' ? word + length + 1 : NULL;
  return name;
}

/* Errors: a word that is not known leaves `command` at 0, or `id` at NULL: the call is not ours to understand. */
static struct call parse(int argc, char **argv) {
  struct call call = {.root = "/run/runc"};
  char name[64];
  const char *value;
  int i = 1;
  for (; i < argc; i++) {
    if (argv[i][0] != '-') break;
    if (flag_name(argv[i], name, sizeof name, &value) == NULL || name[0] == 0) return call;
    if (is_one_of(name, global_bools)) continue;
    if (!is_one_of(name, global_values)) return call;
    if (value == NULL && i + 1 < argc) value = argv[++i];
    if (strcmp(name, "log") == 0) call.log = value;
    if (strcmp(name, "root") == 0) call.root = value;
  }
  if (i >= argc) return call;
  call.command = i;
  const char *command = argv[i];
  bool creating = strcmp(command, "create") == 0, checkpointing = strcmp(command, "checkpoint") == 0;
  const char *id = NULL;
  int words = 0;
  for (i++; i < argc; i++) {
    if (argv[i][0] != '-' || argv[i][1] == 0) {
      if (words++ == 0) id = argv[i];
      continue;
    }
    if (flag_name(argv[i], name, sizeof name, &value) == NULL || name[0] == 0) return call;
    if (checkpointing && is_one_of(name, checkpoint_values)) {
      if (value == NULL) i++;
    } else if (creating && is_one_of(name, create_values)) {
      if (value == NULL) {
        if (++i >= argc) return call;
        value = argv[i];
      }
      if (strcmp(name, "bundle") == 0 || strcmp(name, "b") == 0) call.bundle = value;
    } else if (creating && !is_one_of(name, create_bools)) {
      /* It cannot be told whether a value follows. */
      call.odd = true;
      return call;
    } else if (strcmp(name, "all") == 0 || strcmp(name, "a") == 0) {
      call.all = true;
    }
  }
  call.id = id;
  if (creating && words != 1) call.odd = true;
  return call;
}

/* ---- names: nothing that leads out of kcr's directory ---- */

static bool is_name(const char *text, const char *more, size_t max) {
  size_t length = strlen(text);
  if (length == 0 || length > max || strstr(text, "..") != NULL) return false;
  for (const char *c = text; *c != 0; c++) {
    bool plain = (*c >= 'a' && *c <= 'z') || (*c >= 'A' && *c <= 'Z') || (*c >= '0' && *c <= '9');
    if (!plain && (c == text || strchr(more, *c) == NULL)) return false;
  }
  return true;
}

static bool is_id(const char *text) { return is_name(text, "_.-", 128); }
static bool is_uid(const char *text) { return is_name(text, "-", 64); }
static bool is_container(const char *text) { return is_name(text, "-", 63); }

/* ---- config.json ---- */

struct identity {
  char uid[80], container[80], sandbox[160];
  bool is_container; /* and not a sandbox */
  bool is_stamped;   /* takes over a state: waits for its plan */
};

/*
 * The string that follows a key, wherever it stands. A quote inside a JSON string is escaped, so `"key":` is a key
 * and nothing that somebody wrote into a value.
 */
static bool find_string(const char *json, const char *key, char *out, size_t size) {
  char quoted[96];
  snprintf(quoted, sizeof quoted, "\"%s\"", key);
  size_t length = strlen(quoted);
  for (const char *at = json; (at = strstr(at, quoted)) != NULL; at += length) {
    const char *c = at + length;
    c += strspn(c, " \t\r\n");
    if (*c++ != ':') continue;
    c += strspn(c, " \t\r\n");
    if (*c++ != '"') continue;
    size_t end = strcspn(c, "\"\\");
    if (c[end] != '"' || end >= size) return false;
    memcpy(out, c, end);
    out[end] = 0;
    return true;
  }
  return false;
}

static char *read_file(const char *path) {
  int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return NULL;
  struct stat info;
  char *text = NULL;
  if (fstat(fd, &info) == 0 && S_ISREG(info.st_mode) && info.st_size > 0 && info.st_size <= MAX_CONFIG) {
    text = malloc(info.st_size + 1);
    ssize_t got = 0, n = 1;
    while (text != NULL && got < info.st_size && (n = read(fd, text + got, info.st_size - got)) > 0) got += n;
    if (text != NULL) text[n < 0 ? 0 : got] = 0;
  }
  close(fd);
  return text;
}

/* By containerd's annotations, or by CRI-O's. */
static bool identify(const char *bundle, struct identity *who) {
  char path[PATH_MAX], type[32], stamp[512];
  if (snprintf(path, sizeof path, "%s/config.json", bundle == NULL ? "." : bundle) >= (int)sizeof path) return false;
  char *json = read_file(path);
  if (json == NULL) return false;
  /* An engine writes its own keys itself, but passes on what a pod says by the other's: of both none is believed. */
  bool containerd = find_string(json, "io.kubernetes.cri.container-type", type, sizeof type);
  char crio_type[32];
  bool crio = find_string(json, "io.kubernetes.cri-o.ContainerType", crio_type, sizeof crio_type);
  if (containerd == crio) {
    free(json);
    return false;
  }
  bool found =
      find_string(json, crio ? "io.kubernetes.pod.uid" : "io.kubernetes.cri.sandbox-uid", who->uid,
                  sizeof who->uid) &&
      find_string(json, crio ? "io.kubernetes.container.name" : "io.kubernetes.cri.container-name",
                  who->container, sizeof who->container);
  who->is_container = strcmp(crio ? crio_type : type, "container") == 0;
  who->is_stamped = find_string(json, "kcr.io/restore-from", stamp, sizeof stamp);
  if (!find_string(json, crio ? "io.kubernetes.cri-o.SandboxID" : "io.kubernetes.cri.sandbox-id", who->sandbox,
                   sizeof who->sandbox))
    who->sandbox[0] = 0;
  free(json);
  return found && is_uid(who->uid) && is_container(who->container) &&
         (who->sandbox[0] == 0 || is_id(who->sandbox));
}

/* ---- kcr's directory ---- */

__attribute__((format(printf, 2, 3))) static bool path_in_state(char *path, const char *format, ...) {
  int at = snprintf(path, PATH_MAX, "%s/", state);
  if (at >= PATH_MAX) return false;
  va_list list;
  va_start(list, format);
  int length = vsnprintf(path + at, PATH_MAX - at, format, list);
  va_end(list);
  return length >= 0 && length < PATH_MAX - at - 16;
}

static void make_directories(char *path) {
  for (char *c = path + 1; *c != 0; c++) {
    if (*c != '/') continue;
    *c = 0;
    mkdir(path, 0700);
    *c = '/';
  }
}

/* A file is there whole or not at all. */
static void write_file(char *path, const char *text) {
  char half[PATH_MAX + 16];
  make_directories(path);
  snprintf(half, sizeof half, "%s.%d", path, getpid());
  int fd = open(half, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (fd < 0) return;
  bool whole = write(fd, text, strlen(text)) == (ssize_t)strlen(text);
  close(fd);
  if (!whole || rename(half, path) != 0) unlink(half);
}

static int remove_one(const char *path, const struct stat *info, int type, struct FTW *walk) {
  (void)info, (void)type, (void)walk;
  return remove(path);
}

static void remove_tree(const char *path) { nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT); }

static void note_run(const char *id, const struct identity *who) {
  char path[PATH_MAX], text[512];
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  snprintf(text, sizeof text, "id=%s\nsandbox=%s\ntime=%lld\n", id, who->sandbox,
           (long long)now.tv_sec * 1000 + now.tv_nsec / 1000000);
  if (path_in_state(path, "runs/%s/%s/last", who->uid, who->container)) write_file(path, text);
}

static void note_id(const char *id, const struct identity *who) {
  char path[PATH_MAX], target[200];
  snprintf(target, sizeof target, "%s/%s", who->uid, who->container);
  if (!path_in_state(path, "ids/%s", id)) return;
  make_directories(path);
  unlink(path);
  if (symlink(target, path) != 0) return;
}

/* The container of an ID, as `<pod UID>/<container>`. */
static bool owner_of(const char *id, char *owner, size_t size) {
  char path[PATH_MAX];
  if (!path_in_state(path, "ids/%s", id)) return false;
  ssize_t length = readlink(path, owner, size - 1);
  if (length <= 0) return false;
  owner[length] = 0;
  char *slash = strchr(owner, '/');
  if (slash == NULL) return false;
  *slash = 0;
  bool fine = is_uid(owner) && is_container(slash + 1);
  *slash = '/';
  return fine;
}

/* ---- the Node part ---- */

/* Whoever called us may be killed, as the shim does when the kubelet waits no longer: nothing goes on behind it. */
static void end_with_caller(pid_t caller) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != caller) _exit(1);
}

static void exec_node(const char *phase, int argc, char **argv) {
  char loader[PATH_MAX + 64], library[PATH_MAX + 64], node[PATH_MAX + 64], script[PATH_MAX + 64];
  snprintf(loader, sizeof loader, "%s/lib/" LOADER, home);
  snprintf(library, sizeof library, "%s/lib", home);
  snprintf(node, sizeof node, "%s/lib/node", home);
  snprintf(script, sizeof script, "%s/runtime.mjs", home);
  char **words = calloc(argc + 12, sizeof *words);
  if (words == NULL) return;
  int n = 0;
  words[n++] = loader;
  words[n++] = "--library-path";
  words[n++] = library;
  words[n++] = node;
  words[n++] = script;
  words[n++] = home;
  words[n++] = (char *)phase;
  words[n++] = "--";
  for (int i = 1; i < argc; i++) words[n++] = argv[i];
  /* What is meant for the real runtime, or its caller, must not change how Node runs. */
  unsetenv("NODE_OPTIONS");
  unsetenv("LD_LIBRARY_PATH");
  unsetenv("LD_PRELOAD");
  execv(loader, words);
}

/* Runs the Node part and returns how it ended, -1 if it could not or took too long. */
static int run_node(const char *phase, int argc, char **argv) {
  char script[PATH_MAX + 64];
  snprintf(script, sizeof script, "%s/runtime.mjs", home);
  if (access(script, R_OK) != 0) return -1;
  sigset_t child, old;
  sigemptyset(&child);
  sigaddset(&child, SIGCHLD);
  sigprocmask(SIG_BLOCK, &child, &old);
  pid_t own = getpid(), pid = fork();
  if (pid < 0) return -1;
  if (pid == 0) {
    end_with_caller(own);
    sigprocmask(SIG_SETMASK, &old, NULL);
    /* Node makes standard streams non-blocking; the container's are nobody's to change. */
    for (int fd = 0; fd < 3; fd++) dup2(fd, FIRST_STREAM + fd);
    int null = open("/dev/null", O_RDWR);
    for (int fd = 0; null >= 0 && fd < 3; fd++) dup2(null, fd);
    if (null > 2) close(null);
    exec_node(phase, argc, argv);
    _exit(127);
  }
  struct timespec end, now;
  clock_gettime(CLOCK_MONOTONIC, &end);
  end.tv_sec += patience;
  int status = 0;
  for (;;) {
    pid_t ended = waitpid(pid, &status, WNOHANG);
    if (ended == pid) break;
    clock_gettime(CLOCK_MONOTONIC, &now);
    if (now.tv_sec >= end.tv_sec) {
      kill(pid, SIGKILL);
      waitpid(pid, &status, 0);
      break;
    }
    struct timespec rest = {.tv_sec = end.tv_sec - now.tv_sec, .tv_nsec = 0};
    sigtimedwait(&child, NULL, &rest);
  }
  sigprocmask(SIG_SETMASK, &old, NULL);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* ---- undo: the root file system as it was before a restore that failed ---- */

static char *find_option(char *options, const char *key) {
  size_t length = strlen(key);
  for (char *at = options; at != NULL && *at != 0;) {
    if (strncmp(at, key, length) == 0) return at + length;
    at = strchr(at, ',');
    if (at != NULL) at++;
  }
  return NULL;
}

static void unescape(char *text) {
  char *to = text;
  for (char *c = text; *c != 0; c++) {
    unsigned value;
    if (*c == '\\' && sscanf(c + 1, "%3o", &value) == 1) {
      *to++ = (char)value;
      c += 3;
    } else {
      *to++ = *c;
    }
  }
  *to = 0;
}

/* The directory is there again with its owner and mode; false when something is left in it. */
static bool empty_directory(const char *path) {
  struct stat info;
  if (stat(path, &info) != 0) return false;
  remove_tree(path);
  mkdir(path, 0755);
  if (chown(path, info.st_uid, info.st_gid) != 0 || chmod(path, info.st_mode & 07777) != 0) return false;
  DIR *directory = opendir(path);
  if (directory == NULL) return false;
  bool empty = true;
  for (struct dirent *entry; (entry = readdir(directory)) != NULL;)
    if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0) empty = false;
  closedir(directory);
  return empty;
}

/* Unmounts the overlay at `path`, empties what was written to it, and mounts it again. */
static int reset_overlay(const char *path) {
  FILE *file = fopen("/proc/self/mountinfo", "re");
  if (file == NULL) return 1;
  char *line = NULL;
  size_t size = 0;
  char *options = NULL;
  unsigned long flags = 0;
  while (getline(&line, &size, file) > 0) {
    line[strcspn(line, "\n")] = 0;
    char *field[6], *rest = line;
    int n = 0;
    for (; n < 6 && rest != NULL; n++) field[n] = strsep(&rest, " ");
    char *dash = rest == NULL ? NULL : (strncmp(rest, "- ", 2) == 0 ? rest : strstr(rest, " - "));
    if (n < 6 || dash == NULL) continue;
    unescape(field[4]);
    if (strcmp(field[4], path) != 0) continue;
    dash += *dash == ' ' ? 3 : 2;
    char *type = strsep(&dash, " ");
    strsep(&dash, " ");
    free(options);
    options = strcmp(type, "overlay") == 0 && dash != NULL ? strdup(dash) : NULL;
    flags = (strstr(field[5], "nosuid") ? MS_NOSUID : 0) | (strstr(field[5], "nodev") ? MS_NODEV : 0) |
            (strstr(field[5], "noexec") ? MS_NOEXEC : 0);
  }
  free(line);
  fclose(file);
  if (options == NULL) return 1;
  unescape(options);
  char upper[PATH_MAX] = "", work[PATH_MAX] = "";
  char *at = find_option(options, "upperdir=");
  if (at != NULL) snprintf(upper, sizeof upper, "%.*s", (int)strcspn(at, ","), at);
  at = find_option(options, "workdir=");
  if (at != NULL) snprintf(work, sizeof work, "%.*s", (int)strcspn(at, ","), at);
  at = find_option(options, "lowerdir=");
  if (upper[0] != '/' || work[0] != '/' || at == NULL) return 1;
  if (at[0] != '/') {
    /* Long lists are given relative to the directory that holds all layers: <layers>/<number>/fs. */
    char base[PATH_MAX];
    snprintf(base, sizeof base, "%s", upper);
    for (int i = 0; i < 2; i++) *strrchr(base, '/') = 0;
    if (base[0] == 0 || chdir(base) != 0) return 1;
  }
  char *plain = options;
  if (strncmp(plain, "rw,", 3) == 0) plain += 3;
  /* What runc mounts into it for the length of a restore is there still if it was killed. */
  if (umount2(path, 0) != 0 && umount2(path, MNT_DETACH) != 0) return 1;
  if (!empty_directory(upper) || !empty_directory(work)) return 1;
  return mount("overlay", path, "overlay", flags, plain) == 0 ? 0 : 1;
}

/*
 * For the length of a restore runc has the container's root file system, and for a moment all its volumes in it,
 * mounted in its own directory as well (`criu-root`). Killed, it leaves them there, and its `delete` of a container
 * that it knows nothing of removes that directory with all that is in it: so they have to go first.
 */
static void detach(const char *path) {
  for (int i = 0; i < 16 && umount2(path, MNT_DETACH | UMOUNT_NOFOLLOW) == 0; i++) {}
}

/* ---- what Node cannot do itself, and many hosts have no program for ---- */

static int make_node(const char *path, const char *type, const char *major, const char *minor) {
  mode_t mode = *type == 'c' ? S_IFCHR : *type == 'b' ? S_IFBLK : S_IFIFO;
  if (mknod(path, mode | 0600, makedev(strtoul(major, NULL, 10), strtoul(minor, NULL, 10))) == 0) return 0;
  fprintf(stderr, "%s: %s\n", path, strerror(errno));
  return 1;
}

/* 2: the file system, or the kernel, has no such attributes. */
static int set_attribute(const char *path, const char *name, const char *hex) {
  size_t size = strlen(hex) / 2;
  char *value = malloc(size + 1);
  if (value == NULL) return 1;
  for (size_t i = 0; i < size; i++) {
    unsigned byte;
    if (sscanf(hex + 2 * i, "%2x", &byte) != 1) return 1;
    value[i] = (char)byte;
  }
  if (setxattr(path, name, value, size, 0) == 0) return 0;
  fprintf(stderr, "%s: %s\n", path, strerror(errno));
  return errno == ENOTSUP || errno == EPERM ? 2 : 1;
}

/* ---- the self-test's program: it must come back with its memory ---- */

static int selftest(const char *directory) {
  char crash[PATH_MAX], text[128];
  snprintf(crash, sizeof crash, "%s/crash", directory);
  struct timespec began, tick = {.tv_nsec = 20000000};
  clock_gettime(CLOCK_REALTIME, &began);
  volatile long ticks = 0;
  for (;; ticks++) {
    if (access("/run/kcr/restored", F_OK) == 0 && ticks > 0) {
      snprintf(text, sizeof text, "restored after %ld ticks, began %lld\n", ticks, (long long)began.tv_sec);
      int fd = open("/dev/termination-log", O_WRONLY | O_TRUNC | O_CLOEXEC);
      if (fd < 0 || write(fd, text, strlen(text)) < 0) return 4;
      /* A program that ended before its runtime has called `start` would be taken for one that could not begin. */
      struct timespec started = {.tv_sec = 2};
      nanosleep(&started, NULL);
      return 0;
    }
    if (access(crash, F_OK) == 0) return 3;
    nanosleep(&tick, NULL);
  }
}

/* ---- the calls that are more than passed on ---- */

/* As the real runtime says why it fails. */
static void refuse(const struct call *call, const char *why) {
  FILE *log = call->log == NULL ? NULL : fopen(call->log, "ae");
  if (log != NULL) {
    fprintf(log, "{\"level\":\"error\",\"msg\":\"kcr: %s\"}\n", why);
    fclose(log);
  }
  fprintf(stderr, "kcr-runtime: %s\n", why);
  exit(1);
}

static bool wants_fail(const char *plan) {
  char fallback[16];
  char *json = read_file(plan);
  bool fail = json != NULL && find_string(json, "fallback", fallback, sizeof fallback) &&
              strcmp(fallback, "Fail") == 0;
  free(json);
  return fail;
}

/* What a restore has left cannot be taken back: the program of the image is not begun among files of another. */
static void give_up(const struct call *call, const struct identity *who) {
  char path[PATH_MAX];
  if (path_in_state(path, "runs/%s/%s/state.json", who->uid, who->container)) unlink(path);
  if (!path_in_state(path, "work/%s/dirty", call->id) || access(path, F_OK) != 0) return;
  note_run(call->id, who);
  refuse(call, "a restore broke off and could not be undone; the next start begins afresh");
}

static void create(int argc, char **argv, const struct call *call) {
  struct identity who = {0};
  if (call->odd || call->id == NULL || !is_id(call->id) || !identify(call->bundle, &who) || !who.is_container)
    return;
  if (!disabled) note_id(call->id, &who);
  char plan[PATH_MAX], last[PATH_MAX];
  if (!path_in_state(plan, "plans/%s/%s.json", who.uid, who.container) ||
      !path_in_state(last, "runs/%s/%s/last", who.uid, who.container))
    return;
  if (disabled) {
    /* What was known of an earlier run is not to be taken for knowledge of this one later. */
    if (access(last, F_OK) == 0) note_run(call->id, &who);
    return;
  }
  bool planned = access(plan, F_OK) == 0;
  bool awaited = who.is_stamped && access(last, F_OK) != 0;
  if (planned || awaited) {
    /* Where the Node part cannot make out whose container it is, it still has to know what its plan wants. */
    setenv("KCR_PLAN", plan, 1);
    int ended = run_node("create", argc, argv);
    unsetenv("KCR_PLAN");
    if (ended == 0) exit(0);
    if (ended == EXIT_REFUSED) exit(1);
    /* EXIT_CREATE: it put everything back, and says why in a note. Else it broke: nothing of it may stay. */
    int cleaned = ended == EXIT_CREATE ? ended : run_node("clean", argc, argv);
    if (cleaned == 0) {
      note_run(call->id, &who);
      exit(0);
    }
    if (ended != EXIT_CREATE && wants_fail(plan)) {
      refuse(call, "the restore broke off, and no other start is wanted");
    }
    if (cleaned != EXIT_CREATE) give_up(call, &who);
  }
  note_run(call->id, &who);
}

static void killing(const struct call *call) {
  char owner[200], path[PATH_MAX];
  if (call->id == NULL || !is_id(call->id) || call->all || !owner_of(call->id, owner, sizeof owner)) return;
  if (path_in_state(path, "runs/%s/killed", owner)) write_file(path, call->id);
}

static int run_real_and_wait(char **argv) {
  pid_t own = getpid(), pid = fork();
  if (pid < 0) return -1;
  if (pid == 0) {
    end_with_caller(own);
    run_real(argv);
  }
  int status;
  while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {}
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static void deleting(int argc, char **argv, const struct call *call) {
  char path[PATH_MAX];
  if (call->id == NULL || !is_id(call->id)) return;
  if (path_in_state(path, "ids/%s", call->id)) unlink(path);
  /* A restore that was killed with volumes in its hands: first nothing may run in them any more. */
  char mounted[PATH_MAX];
  if (path_in_state(path, "work/%s", call->id) && access(path, F_OK) == 0 && call->root != NULL &&
      snprintf(mounted, sizeof mounted, "%s/%s/criu-root", call->root, call->id) < (int)sizeof mounted)
    detach(mounted);
  bool open = path_in_state(path, "work/%s/volumes.json", call->id) && access(path, F_OK) == 0;
  int ended = open ? run_real_and_wait(argv) : -1;
  if (open) run_node("delete", argc, argv);
  if (path_in_state(path, "work/%s", call->id) && access(path, F_OK) == 0) remove_tree(path);
  if (ended >= 0) exit(ended);
}

/*
 * With the options of CRIU's that the agent has written down for the container (src/store/criu-options.ts): a
 * configuration file of CRIU's, and in comments of it, a line each, flags for the real runtime.
 */
#define MAX_FLAGS 8
static char **with_options(int argc, char **argv, const struct call *call) {
  char owner[200], path[PATH_MAX];
  if (call->id == NULL || !is_id(call->id) || !owner_of(call->id, owner, sizeof owner)) return argv;
  if (!path_in_state(path, "plans/%s.criu", owner)) return argv;
  char *text = read_file(path), **words = calloc(argc + MAX_FLAGS + 1, sizeof *words);
  if (text == NULL || words == NULL) return argv;
  int n = 0, flags = 0;
  for (; n <= call->command; n++) words[n] = argv[n];
  for (char *line = strtok(text, "\n"); line != NULL && flags < MAX_FLAGS; line = strtok(NULL, "\n"))
    if (strncmp(line, "# --", 4) == 0) words[n++] = line + 2, flags++;
  for (int i = call->command + 1; i < argc; i++) words[n++] = argv[i];
  setenv("CRIU_CONFIG_FILE", path, 1);
  return words;
}

/* The real checkpoint first, whatever becomes of what is added to it; of one that fails CRIU's log is gone later. */
static void checkpoint(int argc, char **argv, const struct call *call) {
  int ended = run_real_and_wait(with_options(argc, argv, call));
  if (ended < 0) return;
  run_node(ended == 0 ? "checkpoint" : "undumped", argc, argv);
  exit(ended);
}

static bool is_restored(const struct call *call) {
  char path[PATH_MAX];
  return call->id != NULL && is_id(call->id) && path_in_state(path, "work/%s/restored", call->id) &&
         access(path, F_OK) == 0;
}

int main(int argc, char **argv) {
  if (argc >= 3 && strcmp(argv[1], "--kcr-selftest") == 0) return selftest(argv[2]);
  if (argc == 3 && strcmp(argv[1], "--kcr-reset-overlay") == 0) return reset_overlay(argv[2]);
  if (argc == 6 && strcmp(argv[1], "--kcr-mknod") == 0) return make_node(argv[2], argv[3], argv[4], argv[5]);
  if (argc == 5 && strcmp(argv[1], "--kcr-setxattr") == 0) return set_attribute(argv[2], argv[3], argv[4]);
  if (argc == 3 && strcmp(argv[1], "--kcr-detach") == 0) {
    detach(argv[2]);
    return 0;
  }
  if (argc >= 3 && strcmp(argv[1], "--kcr-with-caller") == 0) {
    end_with_caller(getppid());
    /* A group of its own, so that CRIU can be ended with it. */
    setpgid(0, 0);
    execvp(argv[2], argv + 2);
    return 127;
  }
  read_conf();
  struct call call = parse(argc, argv);
  const char *command = call.command > 0 ? argv[call.command] : "";
  if (strcmp(command, "start") == 0 && is_restored(&call)) return 0;
  if (strcmp(command, "delete") == 0) deleting(argc, argv, &call);
  if (strcmp(command, "create") == 0) create(argc, argv, &call);
  if (!disabled) {
    if (strcmp(command, "kill") == 0) killing(&call);
    if (strcmp(command, "checkpoint") == 0) checkpoint(argc, argv, &call);
  }
  run_real(argv);
}
