/* Writes tar archives (POSIX ustar, with pax headers for what does not fit into it). */
#ifndef KCR_TAR_H
#define KCR_TAR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

struct tar {
  int fd;
  uint64_t content; /* bytes of files written so far */
};

/* A pax record; `value` may hold anything. */
struct record {
  char key[320];
  const char *value;
  size_t length;
};

/*
 * An entry's header. `type` is ustar's type flag, `size` that of the content which is to follow, `link` the target of
 * a link or NULL. Returns false with errno set, as all of these do.
 */
bool tar_header(struct tar *tar, const char *name, char type, const struct stat *info, uint64_t size,
                const char *link, const struct record *records, int count);

/* `size` bytes of a file from its beginning, whatever it becomes meanwhile: what it lacks is zeros; and padding. */
bool tar_content(struct tar *tar, int from, uint64_t size);

/* The end mark. */
bool tar_finish(struct tar *tar);

/* A regular file, by that name, with `mode`, owned by root. */
bool tar_file(struct tar *tar, const char *name, int from, mode_t mode);

/*
 * All that is in an overlay's upper directory, as a layer of the OCI image specification: whiteouts and opaque
 * directories by their names, extended attributes as SCHILY.xattr records; no sockets. `why` (256 bytes) says what
 * cannot be told by a layer.
 */
bool tar_upper(struct tar *tar, const char *upper, char *why);

#endif
