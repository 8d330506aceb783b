/*
 * torn <file>...: appends to, rewrites and cuts files that it holds open for reading and writing, and has all that is
 * in them in its memory too. Before each step it compares the two: whatever is taken of it at one instant, memory and
 * files agree once the step that was under way is done.
 *
 * How often it has done so is in /tmp/count; /tmp/torn is there once they did not agree.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FILES 4
#define MAX (128 * 1024)
#define STEP 1000

static struct {
  int fd;
  size_t size;
  char content[MAX];
} files[FILES];

static void put(const char *path, const char *text) {
  int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
  if (fd < 0 || write(fd, text, strlen(text)) < 0) exit(4);
  close(fd);
}

static void check(int i, unsigned long count) {
  static char found[MAX + 1];
  char text[128];
  ssize_t size = pread(files[i].fd, found, sizeof found, 0);
  if (size == (ssize_t)files[i].size && memcmp(found, files[i].content, size) == 0) return;
  size_t at = 0;
  while ((ssize_t)at < size && at < files[i].size && found[at] == files[i].content[at]) at++;
  snprintf(text, sizeof text, "file %d at step %lu: %zd bytes, not %zu, and the first other one is %zu\n", i, count,
           size, files[i].size, at);
  put("/tmp/torn", text);
  /* It says so for as long as it is asked. */
  for (;;) pause();
}

int main(int argc, char **argv) {
  int count = argc - 1;
  if (count < 1 || count > FILES) return 2;
  for (int i = 0; i < count; i++) {
    files[i].fd = open(argv[i + 1], O_RDWR | O_CREAT | O_TRUNC, 0644);
    if (files[i].fd < 0) return 3;
  }
  srandom(1);
  for (unsigned long step = 0;; step++) {
    int i = step % count;
    char bytes[STEP];
    size_t length = 1 + random() % sizeof bytes;
    for (size_t k = 0; k < length; k++) bytes[k] = random();
    check(i, step);
    if (files[i].size + length > MAX) {
      if (ftruncate(files[i].fd, MAX / 4) != 0) return 4;
      files[i].size = MAX / 4;
    } else {
      size_t at = random() % 3 == 0 ? files[i].size : random() % (files[i].size + 1);
      if (pwrite(files[i].fd, bytes, length, at) != (ssize_t)length) return 4;
      memcpy(files[i].content + at, bytes, length);
      if (at + length > files[i].size) files[i].size = at + length;
    }
    if (step % 64 == 0) {
      char text[32];
      snprintf(text, sizeof text, "%lu\n", step);
      put("/tmp/count.new", text);
      if (rename("/tmp/count.new", "/tmp/count") != 0) return 4;
      /* Others want the processor too. */
      usleep(2000);
    }
  }
}
