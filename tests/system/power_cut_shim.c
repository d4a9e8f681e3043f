/* LD_PRELOAD: writes down what is done to the files below POWER_CUT_FOLDER, in POWER_CUT_JOURNAL, so that power_cut.py can
 * tell what a power cut would have left. Nothing else changes: the operations are the real ones, fsync too.
 *
 * A record is a `struct head` and its payload, appended by one write after the operation, so that it is there whenever the
 * program goes on. A sync has two: what was written when it began is durable when it has ended. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

enum { CREATE = 'C', MKDIR = 'K', WRITE = 'W', TRUNCATE = 'T', BEGIN = 'B', END = 'E', RENAME = 'R', LINK = 'L', UNLINK = 'U', ALL = 'S' };
struct head { uint32_t operation, length; uint64_t inode, offset; };
#define MOST_FILES 65536
#define MOST_PIECES 1026

static uint64_t inodes[MOST_FILES]; /* by descriptor; 0: not below the folder */
static const char *folder;
static size_t folder_length;
static int journal = -1;
static uint64_t syncs;

#define REAL(name) static __typeof__(name) *real_##name; if (!real_##name) real_##name = dlsym(RTLD_NEXT, #name)

__attribute__((constructor)) static void begin(void) {
    REAL(open);
    const char *path = getenv("POWER_CUT_JOURNAL");
    folder = getenv("POWER_CUT_FOLDER");
    if (!folder || !path) return;
    folder_length = strlen(folder);
    int opened = real_open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    journal = fcntl(opened, F_DUPFD_CLOEXEC, 1000); /* out of the way */
    close(opened);
}

static void note(uint32_t operation, uint64_t inode, uint64_t offset, const struct iovec *pieces, int count) {
    REAL(writev);
    int before = errno;
    struct iovec all[MOST_PIECES];
    struct head head = {operation, 0, inode, offset};
    all[0] = (struct iovec){&head, sizeof head};
    for (int i = 0; i < count; i++) { all[i + 1] = pieces[i]; head.length += pieces[i].iov_len; }
    /* An incomplete journal would prove nothing. */
    if (real_writev(journal, all, count + 1) != (ssize_t)(sizeof head + head.length)) abort();
    errno = before;
}

static void note_paths(uint32_t operation, uint64_t inode, const char *one, const char *other) {
    struct iovec pieces[2] = {{(char *)one, strlen(one) + 1}, {(char *)other, strlen(other) + 1}};
    note(operation, inode, 0, pieces, 2);
}

/* The absolute path, or NULL where it is not below the folder. */
static const char *inside(int at, const char *path, char *space) {
    if (journal < 0 || !path) return NULL;
    if (path[0] == '/') {
        snprintf(space, PATH_MAX, "%s", path);
    } else {
        char link[64], base[PATH_MAX];
        snprintf(link, sizeof link, at == AT_FDCWD ? "/proc/self/cwd" : "/proc/self/fd/%d", at);
        ssize_t length = readlink(link, base, sizeof base - 1);
        if (length < 0) return NULL;
        base[length] = 0;
        if (snprintf(space, PATH_MAX, "%s/%s", base, path) >= PATH_MAX) return NULL;
    }
    if (strncmp(space, folder, folder_length) || (space[folder_length] && space[folder_length] != '/')) return NULL;
    return space;
}

static uint64_t inode_at(const char *path) { struct stat st; return lstat(path, &st) ? 0 : st.st_ino; }

/* The inode behind a descriptor of ours; it may have been closed behind our back and be another file's. */
static uint64_t inode_of(int fd) {
    struct stat st;
    if (fd < 0 || fd >= MOST_FILES || !inodes[fd]) return 0;
    if (fstat(fd, &st) || st.st_ino != inodes[fd]) inodes[fd] = 0;
    return inodes[fd];
}

static int opened(int fd, const char *path, int flags, int existed) {
    struct stat st;
    if (fd < 0 || fd >= MOST_FILES) return fd;
    inodes[fd] = path && !fstat(fd, &st) ? st.st_ino : 0;
    if (!inodes[fd]) return fd;
    int is_nameless = (flags & O_TMPFILE) == O_TMPFILE;
    if (is_nameless || (flags & O_CREAT && !existed)) note_paths(CREATE, inodes[fd], is_nameless ? "" : path, "");
    else if (flags & O_TRUNC) note(TRUNCATE, inodes[fd], 0, NULL, 0);
    return fd;
}

static mode_t mode_of(int flags, va_list rest) {
    return flags & O_CREAT || (flags & O_TMPFILE) == O_TMPFILE ? va_arg(rest, mode_t) : 0;
}

#define OPEN(name) int name(const char *path, int flags, ...) { \
    REAL(name); va_list rest; va_start(rest, flags); mode_t mode = mode_of(flags, rest); va_end(rest); \
    char space[PATH_MAX]; const char *full = inside(AT_FDCWD, path, space); \
    int existed = full && inode_at(full); \
    return opened(real_##name(path, flags, mode), full, flags, existed); }
#define OPENAT(name) int name(int at, const char *path, int flags, ...) { \
    REAL(name); va_list rest; va_start(rest, flags); mode_t mode = mode_of(flags, rest); va_end(rest); \
    char space[PATH_MAX]; const char *full = inside(at, path, space); \
    int existed = full && inode_at(full); \
    return opened(real_##name(at, path, flags, mode), full, flags, existed); }
OPEN(open) OPEN(open64) OPENAT(openat) OPENAT(openat64)

int close(int fd) {
    REAL(close);
    if (fd >= 0 && fd < MOST_FILES) inodes[fd] = 0;
    return real_close(fd);
}

/* So much was written, and ended at `end`. */
static ssize_t wrote(int fd, ssize_t written, const struct iovec *pieces, int count, off64_t begin) {
    uint64_t inode = written > 0 ? inode_of(fd) : 0;
    if (!inode) return written;
    struct iovec done[MOST_PIECES];
    int used = 0;
    for (size_t left = written; left && used < count; used++) {
        done[used] = pieces[used];
        if (done[used].iov_len > left) done[used].iov_len = left;
        left -= done[used].iov_len;
    }
    note(WRITE, inode, begin >= 0 ? begin : lseek64(fd, 0, SEEK_CUR) - written, done, used);
    return written;
}

ssize_t write(int fd, const void *content, size_t size) {
    REAL(write);
    return wrote(fd, real_write(fd, content, size), &(struct iovec){(void *)content, size}, 1, -1);
}
ssize_t writev(int fd, const struct iovec *pieces, int count) {
    REAL(writev);
    return wrote(fd, real_writev(fd, pieces, count), pieces, count, -1);
}
#define PWRITE(name, offset_type) ssize_t name(int fd, const void *content, size_t size, offset_type at) { \
    REAL(name); return wrote(fd, real_##name(fd, content, size, at), &(struct iovec){(void *)content, size}, 1, at); }
#define PWRITEV(name, offset_type) ssize_t name(int fd, const struct iovec *pieces, int count, offset_type at) { \
    REAL(name); return wrote(fd, real_##name(fd, pieces, count, at), pieces, count, at); }
PWRITE(pwrite, off_t) PWRITE(pwrite64, off64_t) PWRITEV(pwritev, off_t) PWRITEV(pwritev64, off64_t)

#define TRUNCATING(name, offset_type) int name(int fd, offset_type length) { \
    REAL(name); int result = real_##name(fd, length); \
    if (!result && inode_of(fd)) note(TRUNCATE, inodes[fd], length, NULL, 0); \
    return result; }
TRUNCATING(ftruncate, off_t) TRUNCATING(ftruncate64, off64_t)

#define SYNC(name) int name(int fd) { \
    REAL(name); uint64_t inode = inode_of(fd); \
    if (!inode) return real_##name(fd); \
    uint64_t sync = (uint64_t)getpid() << 32 | __atomic_add_fetch(&syncs, 1, __ATOMIC_RELAXED); \
    note(BEGIN, inode, sync, NULL, 0); \
    int result = real_##name(fd); \
    if (!result) note(END, inode, sync, NULL, 0); \
    return result; }
SYNC(fsync) SYNC(fdatasync)

int syncfs(int fd) { REAL(syncfs); int result = real_syncfs(fd); if (!result && journal >= 0) note(ALL, 0, 0, NULL, 0); return result; }
void sync(void) { REAL(sync); real_sync(); if (journal >= 0) note(ALL, 0, 0, NULL, 0); }

/* What moves names. A file that leaves the folder or comes into it is not foreseen. */
static int named(int result, uint32_t operation, const char *one, const char *other, uint64_t inode) {
    if (!result && (one || other)) {
        if (!one || !other) abort();
        note_paths(operation, inode, one, other);
    }
    return result;
}

int renameat2(int from_at, const char *from, int to_at, const char *to, unsigned flags) {
    REAL(renameat2);
    char one[PATH_MAX], other[PATH_MAX];
    const char *old = inside(from_at, from, one), *new = inside(to_at, to, other);
    return named(real_renameat2(from_at, from, to_at, to, flags), RENAME, old, new, 0);
}
int rename(const char *from, const char *to) { return renameat2(AT_FDCWD, from, AT_FDCWD, to, 0); }
int renameat(int from_at, const char *from, int to_at, const char *to) { return renameat2(from_at, from, to_at, to, 0); }

int linkat(int from_at, const char *from, int to_at, const char *to, int flags) {
    REAL(linkat);
    char space[PATH_MAX];
    int result = real_linkat(from_at, from, to_at, to, flags);
    const char *new = inside(to_at, to, space);
    return named(result, LINK, new, new, new && !result ? inode_at(new) : 0);
}
int link(const char *from, const char *to) { return linkat(AT_FDCWD, from, AT_FDCWD, to, 0); }

int unlinkat(int at, const char *path, int flags) {
    REAL(unlinkat);
    char space[PATH_MAX];
    const char *full = inside(at, path, space);
    return named(real_unlinkat(at, path, flags), UNLINK, full, full, 0);
}
int unlink(const char *path) { return unlinkat(AT_FDCWD, path, 0); }
int rmdir(const char *path) { return unlinkat(AT_FDCWD, path, AT_REMOVEDIR); }

int mkdirat(int at, const char *path, mode_t mode) {
    REAL(mkdirat);
    char space[PATH_MAX];
    const char *full = inside(at, path, space);
    int result = real_mkdirat(at, path, mode);
    return named(result, MKDIR, full, full, full && !result ? inode_at(full) : 0);
}
int mkdir(const char *path, mode_t mode) { return mkdirat(AT_FDCWD, path, mode); }
