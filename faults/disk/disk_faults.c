/* Makes system calls on files fail, or take long, by rules that another program writes while this one runs.

DISK_FAULTS_DIRECTORY  only files below this directory are affected; without symbolic links in its path
DISK_FAULTS_CONTROL    a file with the rules, which `DiskFaults` in Python writes

Each call looks for the first rule for its kind and its path. Without one, it goes to the next library, which may be
`power_cut.c`, or to the C library. A call that a rule makes fail does nothing else, except that a failed fsync is
reported to `power_cut.c`. Only 64-bit Linux with glibc is supported. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <limits.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define EXPORTED __attribute__((visibility("default")))
#define ALSO(name) __attribute__((visibility("default"), alias(#name)))

/* The next library's function of this name. */
#define NEXT(name) \
    ({ \
        static __typeof__(&name) next; \
        if (!next) \
            next = (__typeof__(&name))dlsym(RTLD_NEXT, #name); \
        next; \
    })

/* The format that `layer.py` writes. */

enum call { OPEN = 1, READ = 2, WRITE = 4, FSYNC = 8, TRUNCATE = 16, RENAME = 32, UNLINK = 64, LINK = 128, MKDIR = 256 };
enum action { FAIL = 1, SHORTEN, SLOW, HANG };

struct rule {
    uint32_t is_active; /* written last */
    uint32_t calls;
    uint32_t action;
    int32_t error;
    uint64_t after; /* calls that still pass */
    uint64_t times; /* calls that are still affected */
    uint64_t hits;
    uint64_t milliseconds;
    char pattern[208]; /* of the path below the directory, as in fnmatch */
};

struct rules {
    uint32_t calls; /* of all rules, so that other calls need not look */
    uint32_t count;
    struct rule rules[63];
};

static struct rules *rules;
static char root[PATH_MAX];
static size_t root_length;

__attribute__((constructor)) static void start(void)
{
    const char *directory = getenv("DISK_FAULTS_DIRECTORY"), *path = getenv("DISK_FAULTS_CONTROL");
    if (!directory || !path)
        return;
    root_length = snprintf(root, sizeof root, "%s/", directory);
    int file = syscall(SYS_openat, AT_FDCWD, path, O_RDWR | O_CLOEXEC, 0);
    void *shared = (void *)syscall(SYS_mmap, NULL, sizeof *rules, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (file < 0 || shared == MAP_FAILED) {
        dprintf(2, "disk_faults: %s: %s\n", path, strerror(errno));
        abort();
    }
    close(file);
    rules = shared;
}

/* Decrease a number that other processes may decrease too. Return whether it was more than zero. */
static bool take(uint64_t *number)
{
    uint64_t found = __atomic_load_n(number, __ATOMIC_RELAXED);
    while (found)
        if (found == UINT64_MAX || __atomic_compare_exchange_n(number, &found, found - 1, 0, __ATOMIC_RELAXED, __ATOMIC_RELAXED))
            return true;
    return false;
}

static void wait_ms(uint64_t milliseconds)
{
    struct timespec left = {milliseconds / 1000, milliseconds % 1000 * 1000000};
    while (nanosleep(&left, &left) && errno == EINTR)
        ;
}

/* Find the rule for a call on a path, and wait if the rule says so. Return NULL if the call passes. */
static struct rule *rule_for(enum call call, const char *path)
{
    if (strncmp(path, root, root_length))
        return NULL;
    for (uint32_t each = 0; each < rules->count; each++) {
        struct rule *rule = &rules->rules[each];
        if (!rule->is_active || !(rule->calls & call) || fnmatch(rule->pattern, path + root_length, 0))
            continue;
        if (take(&rule->after) || !take(&rule->times))
            continue;
        __atomic_fetch_add(&rule->hits, 1, __ATOMIC_RELAXED);
        if (rule->action == SLOW)
            wait_ms(rule->milliseconds);
        while (rule->action == HANG && *(volatile uint32_t *)&rule->is_active)
            wait_ms(2);
        return rule->action == SLOW || rule->action == HANG ? NULL : rule;
    }
    return NULL;
}

static bool applies(enum call call)
{
    return rules && rules->calls & call;
}

static struct rule *rule_for_file(enum call call, int file)
{
    char link[64], path[PATH_MAX];
    int error = errno;
    if (!applies(call))
        return NULL;
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, path, sizeof path - 1);
    errno = error;
    if (length < 0)
        return NULL;
    path[length] = 0;
    return rule_for(call, path);
}

static struct rule *rule_for_path(enum call call, int directory, const char *name)
{
    char link[64], path[PATH_MAX * 2];
    int error = errno;
    ssize_t length = 0;
    if (!applies(call) || !name || strlen(name) >= PATH_MAX)
        return NULL;
    if (*name != '/') {
        snprintf(link, sizeof link, directory == AT_FDCWD ? "/proc/self/cwd" : "/proc/self/fd/%d", directory);
        length = readlink(link, path, PATH_MAX - 1);
        errno = error;
        if (length < 0)
            return NULL;
        path[length++] = '/';
    }
    strcpy(path + length, name);
    return rule_for(call, path);
}

/* Set errno, and return what a failed call returns. */
static int failed(struct rule *rule)
{
    errno = rule->error;
    return -1;
}

/* Opening. */

static bool is_mode_given(int flags)
{
    return flags & O_CREAT || (flags & O_TMPFILE) == O_TMPFILE;
}

#define MODE(flags) \
    ({ \
        mode_t mode = 0; \
        if (is_mode_given(flags)) { \
            va_list arguments; \
            va_start(arguments, flags); \
            mode = va_arg(arguments, mode_t); \
            va_end(arguments); \
        } \
        mode; \
    })

EXPORTED int openat(int directory, const char *path, int flags, ...)
{
    mode_t mode = MODE(flags);
    struct rule *rule = rule_for_path(OPEN, directory, path);
    return rule ? failed(rule) : NEXT(openat)(directory, path, flags, mode);
}
int openat64(int directory, const char *path, int flags, ...) ALSO(openat);

EXPORTED int open(const char *path, int flags, ...)
{
    return openat(AT_FDCWD, path, flags, MODE(flags));
}
int open64(const char *path, int flags, ...) ALSO(open);

EXPORTED int creat(const char *path, mode_t mode)
{
    return openat(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode);
}
int creat64(const char *path, mode_t mode) ALSO(creat);

EXPORTED int __open_2(const char *path, int flags)
{
    return openat(AT_FDCWD, path, flags);
}
int __open64_2(const char *path, int flags) ALSO(__open_2);

EXPORTED int __openat_2(int directory, const char *path, int flags)
{
    return openat(directory, path, flags);
}
int __openat64_2(int directory, const char *path, int flags) ALSO(__openat_2);

/* Reading. */

EXPORTED ssize_t read(int file, void *octets, size_t length)
{
    struct rule *rule = rule_for_file(READ, file);
    return rule ? failed(rule) : NEXT(read)(file, octets, length);
}

EXPORTED ssize_t pread(int file, void *octets, size_t length, off_t offset)
{
    struct rule *rule = rule_for_file(READ, file);
    return rule ? failed(rule) : NEXT(pread)(file, octets, length, offset);
}
ssize_t pread64(int file, void *octets, size_t length, off_t offset) ALSO(pread);

/* Writing. A rule may make a write short: half of the octets, but at least one, are written. */

static bool is_short(struct rule *rule)
{
    return rule && rule->action == SHORTEN;
}

static size_t half(size_t length)
{
    return length > 1 ? length / 2 : length;
}

EXPORTED ssize_t write(int file, const void *octets, size_t length)
{
    struct rule *rule = rule_for_file(WRITE, file);
    if (rule && !is_short(rule))
        return failed(rule);
    return NEXT(write)(file, octets, is_short(rule) ? half(length) : length);
}

EXPORTED ssize_t pwrite(int file, const void *octets, size_t length, off_t offset)
{
    struct rule *rule = rule_for_file(WRITE, file);
    if (rule && !is_short(rule))
        return failed(rule);
    return NEXT(pwrite)(file, octets, is_short(rule) ? half(length) : length, offset);
}
ssize_t pwrite64(int file, const void *octets, size_t length, off_t offset) ALSO(pwrite);

EXPORTED ssize_t writev(int file, const struct iovec *parts, int count)
{
    struct rule *rule = rule_for_file(WRITE, file);
    if (is_short(rule) && count)
        return NEXT(write)(file, parts->iov_base, half(parts->iov_len));
    return rule ? failed(rule) : NEXT(writev)(file, parts, count);
}

EXPORTED ssize_t pwritev(int file, const struct iovec *parts, int count, off_t offset)
{
    struct rule *rule = rule_for_file(WRITE, file);
    if (is_short(rule) && count)
        return NEXT(pwrite)(file, parts->iov_base, half(parts->iov_len), offset);
    return rule ? failed(rule) : NEXT(pwritev)(file, parts, count, offset);
}
ssize_t pwritev64(int file, const struct iovec *parts, int count, off_t offset) ALSO(pwritev);

EXPORTED ssize_t sendfile(int to, int from, off_t *offset, size_t length)
{
    struct rule *rule = rule_for_file(WRITE, to);
    if (rule && !is_short(rule))
        return failed(rule);
    return NEXT(sendfile)(to, from, offset, is_short(rule) ? half(length) : length);
}
ssize_t sendfile64(int to, int from, off_t *offset, size_t length) ALSO(sendfile);

EXPORTED ssize_t copy_file_range(int from, off_t *at, int to, off_t *to_at, size_t length, unsigned flags)
{
    struct rule *rule = rule_for_file(WRITE, to);
    if (rule && !is_short(rule))
        return failed(rule);
    return NEXT(copy_file_range)(from, at, to, to_at, is_short(rule) ? half(length) : length, flags);
}

EXPORTED int ftruncate(int file, off_t size)
{
    struct rule *rule = rule_for_file(TRUNCATE, file);
    return rule ? failed(rule) : NEXT(ftruncate)(file, size);
}
int ftruncate64(int file, off_t size) ALSO(ftruncate);

EXPORTED int truncate(const char *path, off_t size)
{
    struct rule *rule = rule_for_path(TRUNCATE, AT_FDCWD, path);
    return rule ? failed(rule) : NEXT(truncate)(path, size);
}
int truncate64(const char *path, off_t size) ALSO(truncate);

EXPORTED int fallocate(int file, int mode, off_t offset, off_t length)
{
    struct rule *rule = rule_for_file(TRUNCATE, file);
    return rule ? failed(rule) : NEXT(fallocate)(file, mode, offset, length);
}
int fallocate64(int file, int mode, off_t offset, off_t length) ALSO(fallocate);

EXPORTED int posix_fallocate(int file, off_t offset, off_t length)
{
    struct rule *rule = rule_for_file(TRUNCATE, file);
    return rule ? rule->error : NEXT(posix_fallocate)(file, offset, length);
}
int posix_fallocate64(int file, off_t offset, off_t length) ALSO(posix_fallocate);

/* Syncs. After an fsync that failed, Linux has dropped what was written: a later fsync succeeds, but does not make it
   durable. The library that records changes must know that. */

static int sync_failed(struct rule *rule, int file)
{
    void (*report)(int) = (void (*)(int))dlsym(RTLD_DEFAULT, "power_cut_failed_sync");
    if (report)
        report(file);
    return failed(rule);
}

EXPORTED int fsync(int file)
{
    struct rule *rule = rule_for_file(FSYNC, file);
    return rule ? sync_failed(rule, file) : NEXT(fsync)(file);
}

EXPORTED int fdatasync(int file)
{
    struct rule *rule = rule_for_file(FSYNC, file);
    return rule ? sync_failed(rule, file) : NEXT(fdatasync)(file);
}

/* Names. A rule for a rename or a link has the new name. */

EXPORTED int renameat2(int from, const char *path, int to, const char *new_path, unsigned flags)
{
    struct rule *rule = rule_for_path(RENAME, to, new_path);
    return rule ? failed(rule) : NEXT(renameat2)(from, path, to, new_path, flags);
}

EXPORTED int renameat(int from, const char *path, int to, const char *new_path)
{
    return renameat2(from, path, to, new_path, 0);
}

EXPORTED int rename(const char *path, const char *new_path)
{
    return renameat2(AT_FDCWD, path, AT_FDCWD, new_path, 0);
}

EXPORTED int unlinkat(int directory, const char *path, int flags)
{
    struct rule *rule = rule_for_path(UNLINK, directory, path);
    return rule ? failed(rule) : NEXT(unlinkat)(directory, path, flags);
}

EXPORTED int unlink(const char *path)
{
    return unlinkat(AT_FDCWD, path, 0);
}

EXPORTED int rmdir(const char *path)
{
    return unlinkat(AT_FDCWD, path, AT_REMOVEDIR);
}

EXPORTED int linkat(int from, const char *path, int directory, const char *new_path, int flags)
{
    struct rule *rule = rule_for_path(LINK, directory, new_path);
    return rule ? failed(rule) : NEXT(linkat)(from, path, directory, new_path, flags);
}

EXPORTED int link(const char *path, const char *new_path)
{
    return linkat(AT_FDCWD, path, AT_FDCWD, new_path, 0);
}

EXPORTED int mkdirat(int directory, const char *path, mode_t mode)
{
    struct rule *rule = rule_for_path(MKDIR, directory, path);
    return rule ? failed(rule) : NEXT(mkdirat)(directory, path, mode);
}

EXPORTED int mkdir(const char *path, mode_t mode)
{
    return mkdirat(AT_FDCWD, path, mode);
}
