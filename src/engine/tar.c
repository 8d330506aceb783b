#define _GNU_SOURCE
#include "tar.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#define BLOCK 512
#define CHUNK (1 << 20)

static bool put(int fd, const void *bytes, size_t length) {
  for (const char *at = bytes; length > 0;) {
    ssize_t n = write(fd, at, length);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    at += n, length -= n;
  }
  return true;
}

static const char zeros[2 * BLOCK];

static bool pad(int fd, uint64_t size) { return put(fd, zeros, (BLOCK - size % BLOCK) % BLOCK); }

/* ---- headers ---- */

/* Octal digits that fill a field of `size` bytes but for its NUL; false for a number that they cannot hold. */
static bool octal(char *field, size_t size, uint64_t value) {
  if (value >> (3 * (size - 1)) != 0) return false;
  for (char *digit = field + size - 2; digit >= field; digit--, value >>= 3) *digit = '0' + (value & 7);
  return true;
}

static void fill(char *block, const char *name, char type, const struct stat *info, uint64_t size, const char *link) {
  memset(block, 0, BLOCK);
  memcpy(block, name, strnlen(name, 100));
  octal(block + 100, 8, info->st_mode & 07777);
  if (!octal(block + 108, 8, info->st_uid)) octal(block + 108, 8, 0);
  if (!octal(block + 116, 8, info->st_gid)) octal(block + 116, 8, 0);
  if (!octal(block + 124, 12, size)) octal(block + 124, 12, 0);
  if (info->st_mtime < 0 || !octal(block + 136, 12, info->st_mtime)) octal(block + 136, 12, 0);
  memset(block + 148, ' ', 8);
  block[156] = type;
  if (link != NULL) memcpy(block + 157, link, strnlen(link, 100));
  memcpy(block + 257, "ustar\00000", 8);
  if (type == '3' || type == '4') {
    octal(block + 329, 8, major(info->st_rdev));
    octal(block + 337, 8, minor(info->st_rdev));
  }
  unsigned sum = 0;
  for (int i = 0; i < BLOCK; i++) sum += (unsigned char)block[i];
  octal(block + 148, 7, sum);
  block[154] = 0;
}

struct text {
  char *bytes;
  size_t length;
};

/* "LENGTH KEY=VALUE\n", where LENGTH counts its own digits too. */
static bool add_record(struct text *to, const char *key, const char *value, size_t value_length) {
  size_t rest = strlen(key) + value_length + 3, length = rest + 1;
  char digits[24];
  while (rest + snprintf(digits, sizeof digits, "%zu", length) != length) length = rest + strlen(digits);
  char *grown = realloc(to->bytes, to->length + length + 1);
  if (grown == NULL) return false;
  to->bytes = grown;
  char *at = grown + to->length;
  at += sprintf(at, "%zu %s=", length, key);
  memcpy(at, value, value_length);
  at[value_length] = '\n';
  to->length += length;
  return true;
}

static bool is_plain(const char *name) {
  if (strlen(name) > 100) return false;
  for (; *name != 0; name++)
    if (*name < 0x20 || *name > 0x7e) return false;
  return true;
}

static bool add_number(struct text *to, const char *key, uint64_t value, int digits) {
  char decimal[24];
  if (value >> (3 * digits) == 0) return true;
  return add_record(to, key, decimal, sprintf(decimal, "%llu", (unsigned long long)value));
}

bool tar_header(struct tar *tar, const char *name, char type, const struct stat *info, uint64_t size,
                const char *link, const struct record *records, int count) {
  struct text more = {0};
  char block[BLOCK];
  bool fine = (is_plain(name) || add_record(&more, "path", name, strlen(name))) &&
              (link == NULL || is_plain(link) || add_record(&more, "linkpath", link, strlen(link))) &&
              add_number(&more, "size", size, 11) && add_number(&more, "uid", info->st_uid, 7) &&
              add_number(&more, "gid", info->st_gid, 7);
  for (int i = 0; fine && i < count; i++)
    fine = add_record(&more, records[i].key, records[i].value, records[i].length);
  if (fine && more.length > 0) {
    struct stat none = {.st_mode = 0600};
    fill(block, "pax", 'x', &none, more.length, NULL);
    fine = put(tar->fd, block, BLOCK) && put(tar->fd, more.bytes, more.length) && pad(tar->fd, more.length);
  }
  free(more.bytes);
  fill(block, name, type, info, size, link);
  return fine && put(tar->fd, block, BLOCK);
}

/* ---- contents ---- */

/* As many bytes of the file as it has, up to `size`; by the kernel alone where it can. */
static bool copy(int from, int to, uint64_t size, uint64_t *copied) {
  static char buffer[CHUNK];
  bool in_kernel = true;
  off_t at = 0;
  for (*copied = 0; *copied < size;) {
    uint64_t rest = size - *copied;
    size_t wanted = rest < (1u << 30) ? rest : 1u << 30;
    ssize_t n;
    if (in_kernel) {
      n = sendfile(to, from, &at, wanted);
      if (n < 0 && (errno == EINVAL || errno == ENOSYS || errno == EOPNOTSUPP)) {
        in_kernel = false;
        continue;
      }
    } else {
      n = pread(from, buffer, wanted < CHUNK ? wanted : CHUNK, at);
      if (n > 0 && !put(to, buffer, n)) return false;
      if (n > 0) at += n;
    }
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return false;
    if (n == 0) return true;
    *copied += n;
  }
  return true;
}

bool tar_content(struct tar *tar, int from, uint64_t size) {
  uint64_t copied;
  if (!copy(from, tar->fd, size, &copied)) return false;
  for (uint64_t rest = size - copied; rest > 0;) {
    size_t n = rest < sizeof zeros ? rest : sizeof zeros;
    if (!put(tar->fd, zeros, n)) return false;
    rest -= n;
  }
  tar->content += size;
  return pad(tar->fd, size);
}

bool tar_finish(struct tar *tar) { return put(tar->fd, zeros, 2 * BLOCK); }

bool tar_file(struct tar *tar, const char *name, int from, mode_t mode) {
  struct stat info;
  if (fstat(from, &info) != 0) return false;
  struct stat shown = {.st_mode = mode, .st_mtime = info.st_mtime};
  return tar_header(tar, name, '0', &shown, info.st_size, NULL, NULL, 0) && tar_content(tar, from, info.st_size);
}

/* ---- an overlay's upper directory ---- */

#define MAX_RECORDS 64

struct inode {
  dev_t dev;
  ino_t ino;
  char *name;
};

struct walk {
  struct tar *tar;
  char *why;
  /* Files of several names that were met so far. */
  struct inode *inodes;
  size_t count;
};

/* Of one file: what a layer says of it beside its header. */
struct attributes {
  struct record records[MAX_RECORDS];
  int count;
  bool opaque;
  char *values;
};

static bool is_refused(struct walk *walk, const char *name, const char *what) {
  snprintf(walk->why, 256, "%.180s %s", name, what);
  errno = ENOTSUP;
  return false;
}

/* Only what a runtime puts back: capabilities and what users wrote. */
static bool is_kept(const char *key) {
  return strcmp(key, "security.capability") == 0 || strncmp(key, "user.", 5) == 0;
}

static bool read_attributes(struct walk *walk, int fd, const char *name, struct attributes *found) {
  char keys[64 * 1024], path[64];
  /* By way of /proc: also of files that cannot be opened for reading. */
  snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
  ssize_t length = listxattr(path, keys, sizeof keys);
  if (length < 0) return errno == ENOTSUP || errno == EOPNOTSUPP;
  char *values = malloc(1 << 20);
  if (values == NULL) return false;
  found->values = values;
  size_t used = 0;
  for (char *key = keys; key < keys + length; key += strlen(key) + 1) {
    const char *overlay = strncmp(key, "trusted.overlay.", 16) == 0 ? key + 16
                          : strncmp(key, "user.overlay.", 13) == 0  ? key + 13
                                                                    : NULL;
    if (overlay == NULL && !is_kept(key)) continue;
    ssize_t got = getxattr(path, key, values + used, (1 << 20) - used);
    if (got < 0) {
      if (errno == ENODATA) continue;
      return false;
    }
    if (overlay != NULL) {
      if (strcmp(overlay, "opaque") == 0 && got > 0 && values[used] == 'y') found->opaque = true;
      if (strcmp(overlay, "redirect") == 0) return is_refused(walk, name, "was renamed by a redirect");
      if (strcmp(overlay, "metacopy") == 0) return is_refused(walk, name, "has its content in another layer");
      continue;
    }
    if (found->count == MAX_RECORDS) return is_refused(walk, name, "has too many attributes");
    struct record *record = &found->records[found->count++];
    snprintf(record->key, sizeof record->key, "SCHILY.xattr.%.256s", key);
    record->value = values + used;
    record->length = got;
    used += got;
  }
  return true;
}

/* The name under which an inode was written before; NULL for the first, which is remembered. */
static const char *first_name(struct walk *walk, const struct stat *info, const char *name) {
  for (size_t i = 0; i < walk->count; i++)
    if (walk->inodes[i].dev == info->st_dev && walk->inodes[i].ino == info->st_ino) return walk->inodes[i].name;
  struct inode *grown = realloc(walk->inodes, (walk->count + 1) * sizeof *grown);
  if (grown == NULL) return NULL;
  walk->inodes = grown;
  walk->inodes[walk->count++] = (struct inode){info->st_dev, info->st_ino, strdup(name)};
  return NULL;
}

static bool whiteout(struct walk *walk, const char *directory, const char *base, const struct stat *info) {
  char name[PATH_MAX];
  struct stat shown = {.st_mode = 0600, .st_mtime = info->st_mtime};
  if (snprintf(name, sizeof name, "%s%s", directory, base) >= (int)sizeof name) {
    errno = ENAMETOOLONG;
    return false;
  }
  return tar_header(walk->tar, name, '0', &shown, 0, NULL, NULL, 0);
}

static bool write_directory(struct walk *walk, int fd, const char *prefix);

static bool write_entry(struct walk *walk, int directory, const char *prefix, const char *base) {
  static char link[PATH_MAX];
  char name[PATH_MAX];
  if (snprintf(name, sizeof name - 1, "%s%s", prefix, base) >= (int)sizeof name - 1) {
    errno = ENAMETOOLONG;
    return false;
  }
  int place = openat(directory, base, O_PATH | O_NOFOLLOW | O_CLOEXEC);
  struct stat info;
  if (place < 0 || fstat(place, &info) != 0) {
    if (place >= 0) close(place);
    return false;
  }
  bool fine = true;
  /* Not on the stack, of which every level of directories takes its part. */
  struct attributes *found = calloc(1, sizeof *found);
  if (found == NULL) {
    close(place);
    return false;
  }
  if (S_ISCHR(info.st_mode) && info.st_rdev == 0) {
    char hidden[NAME_MAX + 8];
    snprintf(hidden, sizeof hidden, ".wh.%s", base);
    fine = whiteout(walk, prefix, hidden, &info);
  } else if (S_ISLNK(info.st_mode)) {
    ssize_t length = readlinkat(place, "", link, sizeof link - 1);
    fine = length >= 0;
    if (fine) {
      link[length] = 0;
      fine = tar_header(walk->tar, name, '2', &info, 0, link, NULL, 0);
    }
  } else if (!S_ISSOCK(info.st_mode)) {
    const char *other = !S_ISDIR(info.st_mode) && info.st_nlink > 1 ? first_name(walk, &info, name) : NULL;
    fine = read_attributes(walk, place, name, found);
    if (!fine) {
    } else if (other != NULL) {
      fine = tar_header(walk->tar, name, '1', &info, 0, other, NULL, 0);
    } else if (S_ISDIR(info.st_mode)) {
      strcat(name, "/");
      fine = tar_header(walk->tar, name, '5', &info, 0, NULL, found->records, found->count) &&
             (!found->opaque || whiteout(walk, name, ".wh..wh..opq", &info));
      int inner = fine ? openat(directory, base, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC) : -1;
      fine = inner >= 0 && write_directory(walk, inner, name);
    } else if (S_ISREG(info.st_mode)) {
      int file = openat(directory, base, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
      fine = file >= 0 &&
             tar_header(walk->tar, name, '0', &info, info.st_size, NULL, found->records, found->count) &&
             tar_content(walk->tar, file, info.st_size);
      if (file >= 0) close(file);
    } else {
      char type = S_ISCHR(info.st_mode) ? '3' : S_ISBLK(info.st_mode) ? '4' : '6';
      fine = tar_header(walk->tar, name, type, &info, 0, NULL, found->records, found->count);
    }
  }
  int error = errno;
  free(found->values);
  free(found);
  close(place);
  if (!fine && walk->why[0] == 0) snprintf(walk->why, 256, "%.180s: %s", name, strerror(error));
  errno = error;
  return fine;
}

static int by_name(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

/* Takes the descriptor. Names are read first, so that no more than one per level is open. */
static bool write_directory(struct walk *walk, int fd, const char *prefix) {
  DIR *directory = fdopendir(fd);
  if (directory == NULL) {
    close(fd);
    return false;
  }
  char **names = NULL;
  size_t count = 0;
  bool fine = true;
  for (struct dirent *entry; fine && (entry = readdir(directory)) != NULL;) {
    if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
    char **grown = realloc(names, (count + 1) * sizeof *names);
    fine = grown != NULL;
    if (fine) names = grown, fine = (names[count++] = strdup(entry->d_name)) != NULL;
  }
  qsort(names, count, sizeof *names, by_name);
  for (size_t i = 0; i < count; i++) {
    fine = fine && write_entry(walk, dirfd(directory), prefix, names[i]);
    free(names[i]);
  }
  int error = errno;
  free(names);
  closedir(directory);
  errno = error;
  return fine;
}

bool tar_upper(struct tar *tar, const char *upper, char *why) {
  struct walk walk = {.tar = tar, .why = why};
  why[0] = 0;
  int fd = open(upper, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) {
    snprintf(why, 256, "%.180s: %s", upper, strerror(errno));
    return false;
  }
  bool fine = write_directory(&walk, fd, "");
  for (size_t i = 0; i < walk.count; i++) free(walk.inodes[i].name);
  free(walk.inodes);
  return fine;
}
