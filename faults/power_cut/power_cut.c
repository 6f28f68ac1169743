/* Records what a power cut may undo.

A program that runs with this library in LD_PRELOAD writes to its real files. Before each change of a file or of a name
below one directory, the library appends to a log what the change replaces. The log also has each fsync. After all
processes were killed, `PowerCut.cut` reads the log and undoes changes that no fsync has made durable.

POWER_CUT_DIRECTORY  the directory, without symbolic links in its path
POWER_CUT_LOG        a directory on the same file system, for the files `control` (the lock, and the length of the log),
                     `log` (the records), and `kept` (files and directories that were removed)

All threads and processes share one lock. A change, and the record before it, are made under the lock, so the order of
the records is the order of the changes. A process that is killed between the record and the change is harmless: to undo
a change that did not happen changes nothing. The lock is a robust mutex, which a killed process does not keep.

The library cannot see system calls that the C library makes itself (`fwrite`), `syscall()`, io_uring, and changes of
modes, owners and times. Only 64-bit Linux with glibc is supported. */

#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

_Static_assert(sizeof(long) == 8 && sizeof(off_t) == 8, "this library needs a 64-bit system");

#define EXPORTED __attribute__((visibility("default")))
#define ALSO(name) __attribute__((visibility("default"), alias(#name)))

/* The formats that `records.py` reads. */

struct control {
    uint64_t magic;
    uint64_t end; /* the length of the log: a record after it is incomplete */
    pthread_mutex_t mutex;
};

enum kind { WRITE = 1, TRUNCATE, MAP, NAMES, SYNC, SYNC_MAP, SYNC_ALL, FAILED_SYNC };
enum change { CREATION = 1, REMOVAL, RENAME, LINK };

struct record {
    uint32_t kind;
    uint32_t change; /* of NAMES */
    uint64_t length; /* of this record with its payload */
    uint64_t inode;
    uint64_t offset; /* of WRITE and MAP; the new size for TRUNCATE; the position in the log up to which SYNC… applies */
    uint64_t extent; /* the number of octets that change */
    uint64_t size;   /* of the file before the change */
    uint32_t process;
    uint32_t entries; /* the number of `struct entry` in the payload; other payloads are the octets before the change */
};

struct entry { /* a name in a directory, before the change */
    uint64_t directory;
    uint64_t inode; /* 0: there was no such name */
    char name[NAME_MAX + 1];
};

static const uint64_t MAGIC = 0x31545543524f5750;

static struct control *control; /* NULL: nothing is recorded */
static char root[PATH_MAX], log_directory[PATH_MAX - 64];
static size_t root_length;
static dev_t device;
static int log_descriptor = -1;
static char buffer[65536]; /* used under the lock */

static struct mapping { char *start; size_t length; int descriptor; uint64_t inode; off_t offset; } mappings[256];

static void fail(const char *what)
{
    dprintf(2, "power_cut: %s: %s\n", what, strerror(errno));
    abort();
}

/* The log. */

static void open_log(void)
{
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/log", log_directory);
    int descriptor = syscall(SYS_openat, AT_FDCWD, path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (descriptor < 0)
        fail(path);
    int high = fcntl(descriptor, F_DUPFD_CLOEXEC, 700); /* programs expect to get the low numbers */
    log_descriptor = high < 0 ? descriptor : high;
    if (high >= 0)
        close(descriptor);
}

__attribute__((constructor)) static void start(void)
{
    const char *directory = getenv("POWER_CUT_DIRECTORY"), *log = getenv("POWER_CUT_LOG");
    struct stat status;
    if (!directory || !log)
        return;
    char path[PATH_MAX];
    snprintf(root, sizeof root, "%s", directory);
    snprintf(log_directory, sizeof log_directory, "%s", log);
    root_length = strlen(root);
    if (stat(root, &status))
        fail(root);
    device = status.st_dev;
    int initialising = syscall(SYS_openat, AT_FDCWD, log_directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
    if (initialising < 0 || flock(initialising, LOCK_EX))
        fail(log_directory);
    snprintf(path, sizeof path, "%s/control", log_directory);
    int descriptor = syscall(SYS_openat, AT_FDCWD, path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    /* The mapping keeps this lock until the process ends. `PowerCut.cut` waits until no process has it. */
    if (descriptor < 0 || flock(descriptor, LOCK_SH) || fstat(descriptor, &status))
        fail(path);
    if (status.st_size < (off_t)sizeof *control && syscall(SYS_ftruncate, descriptor, 4096))
        fail(path);
    void *shared = (void *)syscall(SYS_mmap, NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
    if (shared == MAP_FAILED)
        fail(path);
    struct control *mapped = shared;
    if (mapped->magic != MAGIC) {
        pthread_mutexattr_t attributes;
        pthread_mutexattr_init(&attributes);
        pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
        pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
        pthread_mutex_init(&mapped->mutex, &attributes);
        mapped->end = 0;
        mapped->magic = MAGIC;
    }
    close(descriptor);
    close(initialising);
    open_log();
    control = mapped;
}

static void lock(void)
{
    if (pthread_mutex_lock(&control->mutex) == EOWNERDEAD)
        pthread_mutex_consistent(&control->mutex);
    struct stat status;
    if (fstat(log_descriptor, &status) || !S_ISREG(status.st_mode)) /* the program has closed all its files */
        open_log();
}

/* Release the lock, and return what the system call returned. errno stays as the call has set it. */
static long unlock(long result)
{
    int error = errno;
    pthread_mutex_unlock(&control->mutex);
    errno = error;
    return result;
}

static void append_at(uint64_t position, const void *octets, size_t length)
{
    while (length) {
        long written = syscall(SYS_pwrite64, log_descriptor, octets, length, position);
        if (written <= 0)
            fail("the log cannot be written");
        octets = (const char *)octets + written, length -= written, position += written;
    }
}

/* End a record whose payload is in the log already. */
static void append(struct record record, size_t payload)
{
    record.length = sizeof record + payload;
    record.process = getpid();
    append_at(control->end, &record, sizeof record);
    control->end += record.length;
}

/* Append a record with the octets that a change replaces. The descriptor may be open for writing only. */
static void append_octets(enum kind kind, int descriptor, uint64_t offset, uint64_t extent, uint64_t from)
{
    struct stat status;
    if (fstat(descriptor, &status))
        fail("fstat");
    uint64_t size = status.st_size, left = from >= size ? 0 : size - from < extent ? size - from : extent;
    uint64_t payload = left, position = control->end + sizeof(struct record);
    int reader = descriptor;
    if (left && (fcntl(descriptor, F_GETFL) & O_ACCMODE) == O_WRONLY) {
        char path[64];
        snprintf(path, sizeof path, "/proc/self/fd/%d", descriptor);
        reader = syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0);
        if (reader < 0)
            fail("a file cannot be read");
    }
    while (left) {
        long length = syscall(SYS_pread64, reader, buffer, left < sizeof buffer ? left : sizeof buffer, from);
        if (length <= 0)
            fail("a file cannot be read");
        append_at(position, buffer, length);
        position += length, from += length, left -= length;
    }
    if (reader != descriptor)
        close(reader);
    struct record record = {.kind = kind, .inode = status.st_ino, .offset = offset, .extent = extent, .size = size};
    append(record, payload);
}

/* Files and directories below the directory. */

static bool is_below(const char *path)
{
    return !strncmp(path, root, root_length) && (path[root_length] == '/' || !path[root_length]);
}

/* Whether changes of an open file or directory are recorded. An inode that was below the directory once is remembered.
   Its number is not used again, because removed files are kept. */
static bool covers(int descriptor, struct stat *status)
{
    static __thread ino_t known[16];
    if (!control || fstat(descriptor, status) || status->st_dev != device)
        return false;
    if (!S_ISREG(status->st_mode) && !S_ISDIR(status->st_mode))
        return false;
    ino_t *place = &known[status->st_ino % 16];
    if (*place == status->st_ino)
        return true;
    char link[64], path[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0)
        return false;
    path[length] = 0;
    if (!is_below(path))
        return false;
    *place = status->st_ino;
    return true;
}

static bool covers_file(int descriptor)
{
    struct stat status;
    return covers(descriptor, &status) && S_ISREG(status.st_mode);
}

/* Changes of contents. */

static const off_t AT_POSITION = -1;

/* Take the lock and record a write, if the file is covered. Return whether the lock is held now. */
static bool begin_write(int descriptor, size_t length, off_t offset)
{
    struct stat status;
    if (!length || !covers_file(descriptor))
        return false;
    lock();
    if (fcntl(descriptor, F_GETFL) & O_APPEND) /* Linux appends whatever offset pwrite has */
        offset = fstat(descriptor, &status) ? 0 : status.st_size;
    else if (offset == AT_POSITION)
        offset = lseek(descriptor, 0, SEEK_CUR);
    append_octets(WRITE, descriptor, offset, length, offset);
    return true;
}

static void append_sync(enum kind kind, uint64_t inode, uint64_t up_to)
{
    append((struct record){.kind = kind, .inode = inode, .offset = up_to}, 0);
}

static long end_write(int descriptor, bool is_held, long result)
{
    struct stat status;
    if (!is_held)
        return result;
    if (result > 0 && (fcntl(descriptor, F_GETFL) & O_DSYNC) && !fstat(descriptor, &status))
        append_sync(SYNC, status.st_ino, control->end);
    return unlock(result);
}

#define RECORDED(descriptor, length, offset, call) \
    ({ bool is_held = begin_write(descriptor, length, offset); end_write(descriptor, is_held, call); })

static size_t length_of(const struct iovec *parts, int count)
{
    size_t length = 0;
    for (int part = 0; part < count; part++)
        length += parts[part].iov_len;
    return length;
}

EXPORTED ssize_t write(int file, const void *octets, size_t length)
{
    return RECORDED(file, length, AT_POSITION, syscall(SYS_write, file, octets, length));
}

EXPORTED ssize_t pwrite(int file, const void *octets, size_t length, off_t offset)
{
    return RECORDED(file, length, offset, syscall(SYS_pwrite64, file, octets, length, offset));
}
ssize_t pwrite64(int file, const void *octets, size_t length, off_t offset) ALSO(pwrite);

EXPORTED ssize_t writev(int file, const struct iovec *parts, int count)
{
    return RECORDED(file, length_of(parts, count), AT_POSITION, syscall(SYS_writev, file, parts, count));
}

EXPORTED ssize_t pwritev(int file, const struct iovec *parts, int count, off_t offset)
{
    return RECORDED(file, length_of(parts, count), offset, syscall(SYS_pwritev, file, parts, count, offset, 0));
}
ssize_t pwritev64(int file, const struct iovec *parts, int count, off_t offset) ALSO(pwritev);

EXPORTED ssize_t pwritev2(int file, const struct iovec *parts, int count, off_t offset, int flags)
{
    size_t length = length_of(parts, count);
    return RECORDED(file, length, offset, syscall(SYS_pwritev2, file, parts, count, offset, 0, flags));
}
ssize_t pwritev64v2(int file, const struct iovec *parts, int count, off_t offset, int flags) ALSO(pwritev2);

EXPORTED ssize_t sendfile(int to, int from, off_t *offset, size_t length)
{
    return RECORDED(to, length, AT_POSITION, syscall(SYS_sendfile, to, from, offset, length));
}
ssize_t sendfile64(int to, int from, off_t *offset, size_t length) ALSO(sendfile);

EXPORTED ssize_t copy_file_range(int from, off_t *at, int to, off_t *to_at, size_t length, unsigned flags)
{
    off_t offset = to_at ? *to_at : AT_POSITION;
    return RECORDED(to, length, offset, syscall(SYS_copy_file_range, from, at, to, to_at, length, flags));
}

/* Record a new size. The lock is held. */
static void append_truncation(int descriptor, off_t size)
{
    append_octets(TRUNCATE, descriptor, size, UINT64_MAX, size);
}

EXPORTED int ftruncate(int file, off_t size)
{
    if (size < 0 || !covers_file(file))
        return syscall(SYS_ftruncate, file, size);
    lock();
    append_truncation(file, size);
    return unlock(syscall(SYS_ftruncate, file, size));
}
int ftruncate64(int file, off_t size) ALSO(ftruncate);

EXPORTED int truncate(const char *path, off_t size)
{
    int file = syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CLOEXEC | O_NONBLOCK, 0);
    if (file < 0)
        return -1;
    int result = ftruncate(file, size), error = errno;
    close(file);
    errno = error;
    return result;
}
int truncate64(const char *path, off_t size) ALSO(truncate);

EXPORTED int fallocate(int file, int mode, off_t offset, off_t length)
{
    struct stat status;
    if (!covers_file(file))
        return syscall(SYS_fallocate, file, mode, offset, length);
    if (mode & (FALLOC_FL_COLLAPSE_RANGE | FALLOC_FL_INSERT_RANGE))
        return errno = EOPNOTSUPP, -1;
    lock();
    if (mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE))
        append_octets(WRITE, file, offset, length, offset);
    else if (!mode && !fstat(file, &status) && offset + length > status.st_size)
        append_truncation(file, offset + length);
    return unlock(syscall(SYS_fallocate, file, mode, offset, length));
}
int fallocate64(int file, int mode, off_t offset, off_t length) ALSO(fallocate);

EXPORTED int posix_fallocate(int file, off_t offset, off_t length)
{
    int before = errno, result = fallocate(file, 0, offset, length) ? errno : 0;
    errno = before;
    return result;
}
int posix_fallocate64(int file, off_t offset, off_t length) ALSO(posix_fallocate);

/* Memory that a program shares with a file. What the program stores there is not seen, so the whole part of the file
   counts as changed from the moment that it is mapped. */

EXPORTED void *mmap(void *wanted, size_t length, int protection, int flags, int file, off_t offset)
{
    bool is_shared = (flags & MAP_TYPE) == MAP_SHARED || (flags & MAP_TYPE) == MAP_SHARED_VALIDATE;
    struct stat status;
    if (file < 0 || !is_shared || !(protection & PROT_WRITE) || !covers(file, &status))
        return (void *)syscall(SYS_mmap, wanted, length, protection, flags, file, offset);
    lock();
    append_octets(MAP, file, offset, length, offset);
    void *start = (void *)syscall(SYS_mmap, wanted, length, protection, flags, file, offset);
    if (start != MAP_FAILED) {
        struct mapping *free = mappings;
        while (free < mappings + 256 && free->start)
            free++;
        if (free == mappings + 256)
            fail("too many mappings");
        /* The program may close its descriptor before it calls msync. */
        int own = fcntl(file, F_DUPFD_CLOEXEC, 700);
        *free = (struct mapping){start, length, own, status.st_ino, offset};
    }
    unlock(0);
    return start;
}
void *mmap64(void *wanted, size_t length, int protection, int flags, int file, off_t offset) ALSO(mmap);

EXPORTED int munmap(void *start, size_t length)
{
    for (struct mapping *one = mappings; control && one < mappings + 256; one++)
        if (one->start == start && start) {
            if (one->descriptor >= 0)
                close(one->descriptor);
            one->start = NULL;
        }
    return syscall(SYS_munmap, start, length);
}

/* Record again what this process has mapped, before a sync that makes what was stored until now durable. */
static void append_mapped(uint64_t inode, const char *from, const char *to)
{
    for (struct mapping *one = mappings; one < mappings + 256; one++)
        if (one->start && one->descriptor >= 0 && (one->inode == inode || (one->start < to && from < one->start + one->length)))
            append_octets(MAP, one->descriptor, one->offset, one->length, one->offset);
}

EXPORTED int msync(void *start, size_t length, int flags)
{
    if (!control || !(flags & MS_SYNC))
        return syscall(SYS_msync, start, length, flags);
    lock();
    uint64_t up_to = control->end;
    append_mapped(0, start, (char *)start + length);
    int result = syscall(SYS_msync, start, length, flags);
    for (struct mapping *one = mappings; !result && one < mappings + 256; one++)
        if (one->start && one->start < (char *)start + length && (char *)start < one->start + one->length)
            append_sync(SYNC_MAP, one->inode, up_to);
    return unlock(result);
}

/* Syncs. sync_file_range makes nothing durable (its manual page says why), so it is not here. */

static int synced(int file, long call)
{
    struct stat status;
    if (!covers(file, &status))
        return syscall(call, file);
    lock();
    uint64_t up_to = control->end;
    append_mapped(status.st_ino, NULL, NULL);
    unlock(0);
    if (syscall(call, file)) /* without the lock, because it may take long */
        return -1;
    lock();
    append_sync(SYNC, status.st_ino, up_to);
    return unlock(0);
}

EXPORTED int fsync(int file)
{
    return synced(file, SYS_fsync);
}

EXPORTED int fdatasync(int file)
{
    return synced(file, SYS_fdatasync);
}

EXPORTED int syncfs(int file)
{
    uint64_t up_to = control ? control->end : 0;
    int result = syscall(SYS_syncfs, file);
    if (!control || result)
        return result;
    lock();
    append_sync(SYNC_ALL, 0, up_to);
    return unlock(0);
}

EXPORTED void sync(void)
{
    int file = syscall(SYS_openat, AT_FDCWD, root_length ? root : "/", O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
    if (file >= 0) {
        syncfs(file);
        close(file);
    }
    syscall(SYS_sync);
}

/* The library that makes system calls fail calls this if it has made an fsync fail. Linux then marks the pages of the
   file as clean, so that no later fsync writes them. */
EXPORTED void power_cut_failed_sync(int file)
{
    struct stat status;
    if (!covers(file, &status))
        return;
    lock();
    append_sync(FAILED_SYNC, status.st_ino, control->end);
    unlock(0);
}

/* Changes of names. */

struct place { /* a name, and the open directory that has it */
    int directory;
    struct entry entry;
    mode_t mode;
    nlink_t links;
};

/* Find the directory of a path. Return false if changes in it are not recorded. */
static bool find(int directory, const char *path, struct place *place)
{
    char parent[PATH_MAX];
    struct stat status;
    place->directory = -1;
    if (!control || !path || !*path || strlen(path) >= sizeof parent)
        return false;
    strcpy(parent, path);
    size_t length = strlen(parent);
    while (length > 1 && parent[length - 1] == '/')
        parent[--length] = 0;
    char *slash = strrchr(parent, '/');
    const char *name = slash ? slash + 1 : parent;
    if (strlen(name) > NAME_MAX)
        return false;
    memset(&place->entry, 0, sizeof place->entry);
    strcpy(place->entry.name, name);
    if (slash)
        slash[slash == parent] = 0;
    int flags = O_PATH | O_DIRECTORY | O_CLOEXEC;
    place->directory = syscall(SYS_openat, directory, slash ? parent : ".", flags, 0);
    if (place->directory < 0)
        return false;
    if (covers(place->directory, &status)) {
        place->entry.directory = status.st_ino;
        return true;
    }
    close(place->directory);
    place->directory = -1;
    return false;
}

/* Find out what has the name now. The lock is held. */
static bool look(struct place *place)
{
    struct stat status;
    if (fstatat(place->directory, place->entry.name, &status, AT_SYMLINK_NOFOLLOW))
        return place->entry.inode = 0, false;
    place->entry.inode = status.st_ino;
    place->mode = status.st_mode;
    place->links = status.st_nlink;
    return true;
}

static void leave(struct place *place)
{
    int error = errno;
    if (place->directory >= 0)
        close(place->directory);
    errno = error;
}

static void append_names(enum change change, struct place *first, struct place *second)
{
    struct record record = {.kind = NAMES, .change = change};
    uint64_t position = control->end + sizeof record;
    struct place *places[] = {first, second};
    for (int each = 0; each < 2; each++)
        if (places[each] && places[each]->directory >= 0)
            append_at(position + sizeof(struct entry) * record.entries++, &places[each]->entry, sizeof(struct entry));
    append(record, sizeof(struct entry) * record.entries);
}

static void kept_path(struct place *place, char *path, size_t size)
{
    snprintf(path, size, "%s/kept/%llu", log_directory, (unsigned long long)place->entry.inode);
}

/* Keep a file that loses its last name, so that the cut can give it back. */
static void keep(struct place *place)
{
    char path[PATH_MAX];
    if (place->directory < 0 || !place->entry.inode || S_ISDIR(place->mode) || place->links > 1)
        return;
    kept_path(place, path, sizeof path);
    if (syscall(SYS_linkat, place->directory, place->entry.name, AT_FDCWD, path, 0) && errno != EEXIST)
        fail("a removed file cannot be kept");
}

EXPORTED int renameat2(int from, const char *path, int to, const char *new_path, unsigned flags)
{
    struct place old, new;
    bool is_old = find(from, path, &old), is_new = find(to, new_path, &new);
    if (!is_old && !is_new)
        return syscall(SYS_renameat2, from, path, to, new_path, flags);
    lock();
    struct stat status;
    bool is_there = !fstatat(from, path, &status, AT_SYMLINK_NOFOLLOW);
    if (is_old)
        look(&old);
    if (is_new && look(&new) && !flags && is_there && status.st_ino != new.entry.inode)
        keep(&new);
    if (is_there)
        append_names(RENAME, &old, &new);
    int result = unlock(syscall(SYS_renameat2, from, path, to, new_path, flags));
    leave(&old);
    leave(&new);
    return result;
}

EXPORTED int renameat(int from, const char *path, int to, const char *new_path)
{
    return renameat2(from, path, to, new_path, 0);
}

EXPORTED int rename(const char *path, const char *new_path)
{
    return renameat2(AT_FDCWD, path, AT_FDCWD, new_path, 0);
}

static bool is_empty(struct place *place)
{
    int file = syscall(SYS_openat, place->directory, place->entry.name, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
    DIR *directory = file < 0 ? NULL : fdopendir(file);
    int count = 0;
    while (directory && readdir(directory))
        count++;
    if (directory)
        closedir(directory);
    return directory && count == 2; /* . and .. */
}

EXPORTED int unlinkat(int directory, const char *path, int flags)
{
    struct place place;
    char kept[PATH_MAX];
    if (!find(directory, path, &place))
        return syscall(SYS_unlinkat, directory, path, flags);
    lock();
    bool is_there = look(&place), is_directory = is_there && S_ISDIR(place.mode);
    bool is_removed = is_directory ? flags & AT_REMOVEDIR && is_empty(&place) : is_there && !(flags & AT_REMOVEDIR);
    long result;
    if (is_removed)
        append_names(REMOVAL, &place, NULL);
    if (is_removed && is_directory) {
        /* Its number must not be used again while the log has names in it. */
        kept_path(&place, kept, sizeof kept);
        result = syscall(SYS_renameat2, place.directory, place.entry.name, AT_FDCWD, kept, 0);
    } else {
        if (is_removed)
            keep(&place);
        result = syscall(SYS_unlinkat, directory, path, flags);
    }
    unlock(result);
    leave(&place);
    return result;
}

EXPORTED int unlink(const char *path)
{
    return unlinkat(AT_FDCWD, path, 0);
}

EXPORTED int rmdir(const char *path)
{
    return unlinkat(AT_FDCWD, path, AT_REMOVEDIR);
}

EXPORTED int remove(const char *path)
{
    int result = unlink(path);
    return result && errno == EISDIR ? rmdir(path) : result;
}

/* Record a new name, and make it. */
#define NAMED(change, directory, path, call) \
    ({ \
        struct place place; \
        bool is_covered = find(directory, path, &place); \
        if (is_covered) { \
            lock(); \
            if (!look(&place)) \
                append_names(change, &place, NULL); \
        } \
        long result = call; \
        if (is_covered) { \
            unlock(result); \
            leave(&place); \
        } \
        result; \
    })

EXPORTED int mkdirat(int directory, const char *path, mode_t mode)
{
    return NAMED(CREATION, directory, path, syscall(SYS_mkdirat, directory, path, mode));
}

EXPORTED int mkdir(const char *path, mode_t mode)
{
    return mkdirat(AT_FDCWD, path, mode);
}

EXPORTED int symlinkat(const char *target, int directory, const char *path)
{
    return NAMED(CREATION, directory, path, syscall(SYS_symlinkat, target, directory, path));
}

EXPORTED int symlink(const char *target, const char *path)
{
    return symlinkat(target, AT_FDCWD, path);
}

EXPORTED int linkat(int from, const char *path, int directory, const char *new_path, int flags)
{
    return NAMED(LINK, directory, new_path, syscall(SYS_linkat, from, path, directory, new_path, flags));
}

EXPORTED int link(const char *path, const char *new_path)
{
    return linkat(AT_FDCWD, path, AT_FDCWD, new_path, 0);
}

/* Opening: it may create a file, or empty it. */

static int opened(int directory, const char *path, int flags, mode_t mode)
{
    struct place place;
    bool may_change = (flags & (O_CREAT | O_TRUNC)) && (flags & O_TMPFILE) != O_TMPFILE;
    if (!may_change || !find(directory, path, &place))
        return syscall(SYS_openat, directory, path, flags, mode);
    lock();
    bool is_there = look(&place);
    if (!is_there && flags & O_CREAT)
        append_names(CREATION, &place, NULL);
    if (is_there && flags & O_TRUNC && !(flags & O_EXCL)) {
        int emptied = syscall(SYS_openat, directory, path, O_RDONLY | O_NONBLOCK | O_CLOEXEC, 0);
        if (emptied >= 0 && covers_file(emptied))
            append_truncation(emptied, 0);
        if (emptied >= 0)
            close(emptied);
    }
    int result = unlock(syscall(SYS_openat, directory, path, flags, mode));
    leave(&place);
    return result;
}

#define MODE \
    ({ \
        va_list arguments; \
        va_start(arguments, flags); \
        mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(arguments, mode_t) : 0; \
        va_end(arguments); \
        mode; \
    })

EXPORTED int open(const char *path, int flags, ...)
{
    return opened(AT_FDCWD, path, flags, MODE);
}
int open64(const char *path, int flags, ...) ALSO(open);

EXPORTED int openat(int directory, const char *path, int flags, ...)
{
    return opened(directory, path, flags, MODE);
}
int openat64(int directory, const char *path, int flags, ...) ALSO(openat);

EXPORTED int creat(const char *path, mode_t mode)
{
    return opened(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode);
}
int creat64(const char *path, mode_t mode) ALSO(creat);

/* What _FORTIFY_SOURCE makes of `open` without a mode. */

EXPORTED int __open_2(const char *path, int flags)
{
    return opened(AT_FDCWD, path, flags, 0);
}
int __open64_2(const char *path, int flags) ALSO(__open_2);

EXPORTED int __openat_2(int directory, const char *path, int flags)
{
    return opened(directory, path, flags, 0);
}
int __openat64_2(int directory, const char *path, int flags) ALSO(__openat_2);
