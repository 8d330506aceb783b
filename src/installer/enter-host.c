/*
 * enter-host <pid> <program> [argument...]: runs a program of the host from within a container that shares the
 * host's process IDs, in the mount namespace of the process with that ID. setns(2) moves root and working
 * directory along.
 *
 * Exit codes of its own: 125 for a call or a namespace it cannot do with, 127 for a program that cannot be run.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int main(int argc, char **argv) {
  if (argc < 3) {
    fputs("usage: enter-host <pid> <program> [argument...]\n", stderr);
    return 125;
  }
  char path[64];
  snprintf(path, sizeof path, "/proc/%ld/ns/mnt", strtol(argv[1], NULL, 10));
  int namespace = open(path, O_RDONLY | O_CLOEXEC);
  if (namespace < 0 || setns(namespace, CLONE_NEWNS) != 0) {
    fprintf(stderr, "enter-host: %s: %s\n", path, strerror(errno));
    return 125;
  }
  execvp(argv[2], argv + 2);
  fprintf(stderr, "enter-host: %s: %s\n", argv[2], strerror(errno));
  return 127;
}
