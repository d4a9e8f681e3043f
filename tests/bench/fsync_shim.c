/* LD_PRELOAD: gives DCMTK's storescp the durability it lacks: fsync(file) and fsync(FSYNC_DIR) when a written file is closed. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

int fclose(FILE *file) {
    static int (*real)(FILE *);
    if (!real) real = dlsym(RTLD_NEXT, "fclose");
    int fd = fileno(file), flags = fd > 2 ? fcntl(fd, F_GETFL) : -1;
    struct stat st;
    if (flags >= 0 && (flags & O_ACCMODE) != O_RDONLY && !fstat(fd, &st) && S_ISREG(st.st_mode)) {
        fflush(file);
        fsync(fd);
        const char *folder = getenv("FSYNC_DIR");
        int dir = folder ? open(folder, O_RDONLY | O_DIRECTORY) : -1;
        if (dir >= 0) { fsync(dir); close(dir); }
    }
    return real(file);
}
