/*
 * hold-at <file> <text> <mark>: whoever opens the file while that text is in it waits until <mark>.go is there.
 * <mark>.set says that it is watched, <mark>.held that somebody waits. With <mark>.go it ends. A file that takes its place
 * is watched too: a dump that failed by chance is begun anew.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/fanotify.h>
#include <unistd.h>

static const char *mark;

static const char *name(const char *suffix) {
  static char path[4096];
  snprintf(path, sizeof path, "%s.%s", mark, suffix);
  return path;
}

static void touch(const char *suffix) { close(open(name(suffix), O_WRONLY | O_CREAT, 0600)); }

int main(int argc, char **argv) {
  if (argc != 4) return 2;
  mark = argv[3];
  int watch = fanotify_init(FAN_CLASS_CONTENT | FAN_CLOEXEC, O_RDONLY | O_CLOEXEC);
  if (watch < 0 || fanotify_mark(watch, FAN_MARK_ADD, FAN_OPEN_PERM, AT_FDCWD, argv[1]) != 0) {
    perror("fanotify");
    return 1;
  }
  touch("set");
  struct pollfd next = {.fd = watch, .events = POLLIN};
  while (access(name("go"), F_OK) != 0) {
    struct fanotify_event_metadata event;
    fanotify_mark(watch, FAN_MARK_ADD, FAN_OPEN_PERM, AT_FDCWD, argv[1]);
    if (poll(&next, 1, 2) <= 0) continue;
    if (read(watch, &event, sizeof event) != sizeof event) return 1;
    char text[64] = "";
    if (pread(event.fd, text, sizeof text - 1, 0) >= 0 && strcmp(text, argv[2]) == 0) {
      touch("held");
      while (access(name("go"), F_OK) != 0) poll(NULL, 0, 5);
    }
    struct fanotify_response answer = {.fd = event.fd, .response = FAN_ALLOW};
    if (write(watch, &answer, sizeof answer) < 0) return 1;
    close(event.fd);
  }
  return 0;
}
