/* Stands between a process and the C library, and lets writes and flushes below one folder fail.
 *
 * What goes wrong is said by files in the folder SHIM_RULES, which the test makes and removes while the process runs:
 *   fsync-fails    every flush fails with EIO; each is counted by a byte in the file `fsync-failed`
 *   flush-hangs    flushes of files whose path holds the text of this file begin when the file is gone
 *   writes-short   positional writes take half of their bytes, and every third call is interrupted
 *   writes-full    positional writes take half of their bytes, and the next call finds no room
 * Only files whose path begins with SHIM_BELOW are concerned.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

static const char *rules(void) { return getenv("SHIM_RULES"); }

static int rule(const char *name) {
    const char *folder = rules();
    char path[PATH_MAX];
    if (folder == NULL || snprintf(path, sizeof path, "%s/%s", folder, name) >= (int)sizeof path) return 0;
    int saved = errno;
    int holds = access(path, F_OK) == 0;
    errno = saved;
    return holds;
}

static int concerns(int fd) {
    const char *below = getenv("SHIM_BELOW");
    char link[64], path[PATH_MAX];
    if (below == NULL) return 0;
    int saved = errno;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    errno = saved;
    if (length < 0) return 0;
    path[length] = 0;
    return strncmp(path, below, strlen(below)) == 0;
}

static void count(const char *name) {
    const char *folder = rules();
    char path[PATH_MAX];
    if (folder == NULL || snprintf(path, sizeof path, "%s/%s", folder, name) >= (int)sizeof path) return;
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND, 0644);
    if (fd < 0) return;
    if (write(fd, ".", 1) < 0) { /* the test will miss it */ }
    close(fd);
}

/* Whether the rule of this name holds for the file behind a descriptor. */
static int holds_for(const char *name, int fd) {
    const char *folder = rules();
    char path[PATH_MAX], link[64], text[256];
    if (folder == NULL || snprintf(path, sizeof path, "%s/%s", folder, name) >= (int)sizeof path) return 0;
    int rule = open(path, O_RDONLY);
    if (rule < 0) return 0;
    ssize_t length = read(rule, text, sizeof text - 1);
    close(rule);
    if (length <= 0) return 0;
    text[length] = 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return strstr(path, text) != NULL;
}

static void hang(int fd) {
    int saved = errno;
    struct timespec pause = {0, 1000000};
    if (concerns(fd) && holds_for("flush-hangs", fd)) {
        count("flush-held");
        while (holds_for("flush-hangs", fd)) nanosleep(&pause, NULL);
    }
    errno = saved;
}

static int flush_fails(int fd) {
    hang(fd);
    if (!rule("fsync-fails") || !concerns(fd)) return 0;
    count("fsync-failed");
    errno = EIO;
    return 1;
}

int fsync(int fd) {
    static int (*real)(int);
    if (real == NULL) real = (int (*)(int))dlsym(RTLD_NEXT, "fsync");
    return flush_fails(fd) ? -1 : real(fd);
}

int fdatasync(int fd) {
    static int (*real)(int);
    if (real == NULL) real = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
    return flush_fails(fd) ? -1 : real(fd);
}

/* Halves of one write: the first goes through, the second meets the fault. */
static __thread int turn;

static ssize_t positional(int fd, const struct iovec *parts, int many, off_t at) {
    static ssize_t (*real)(int, const struct iovec *, int, off_t);
    if (real == NULL) real = (ssize_t(*)(int, const struct iovec *, int, off_t))dlsym(RTLD_NEXT, "pwritev");
    int is_short = rule("writes-short"), is_full = rule("writes-full");
    if ((!is_short && !is_full) || !concerns(fd)) {
        turn = 0;
        return real(fd, parts, many, at);
    }
    size_t length = 0;
    for (int i = 0; i < many; i++) length += parts[i].iov_len;
    turn++;
    if (is_short && turn % 3 == 0) {
        errno = EINTR;
        return -1;
    }
    if (is_full && turn % 2 == 0) {
        count("write-refused");
        errno = ENOSPC;
        return -1;
    }
    size_t half = length / 2;
    if (half == 0) return real(fd, parts, many, at);
    count("write-halved");
    char *bytes = malloc(length);
    if (bytes == NULL) {
        errno = ENOMEM;
        return -1;
    }
    size_t copied = 0;
    for (int i = 0; i < many; i++) {
        memcpy(bytes + copied, parts[i].iov_base, parts[i].iov_len);
        copied += parts[i].iov_len;
    }
    struct iovec first = {bytes, half};
    ssize_t written = real(fd, &first, 1, at);
    free(bytes);
    return written;
}

ssize_t pwritev(int fd, const struct iovec *parts, int many, off_t at) { return positional(fd, parts, many, at); }

ssize_t pwritev64(int fd, const struct iovec *parts, int many, off64_t at) { return positional(fd, parts, many, at); }
