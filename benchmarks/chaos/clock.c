/* A clock of the wall that can be set for one process while it runs: an offset in nanoseconds, in the file CHAOS_CLOCK.

   cc -shared -fPIC -O2 -o clock.so clock.c -ldl
   CHAOS_CLOCK=offset LD_PRELOAD=./clock.so python …

   The monotonic clock stays what it is, as when an administrator or NTP sets a machine's clock. What waits until a
   moment of the wall is told that moment as the real clock has it. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define SECOND 1000000000LL

static volatile const int64_t *offset;

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("CHAOS_CLOCK");
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (file < 0) return;
    void *at = mmap(NULL, sizeof *offset, PROT_READ, MAP_SHARED, file, 0);
    if (at != MAP_FAILED) offset = at;
    close(file);
}

static struct timespec moved(struct timespec time, int64_t by) {
    int64_t all = time.tv_sec * SECOND + time.tv_nsec + by;
    if (all < 0) all = 0;
    return (struct timespec){all / SECOND, all % SECOND};
}

static int64_t set_by(void) { return offset ? *offset : 0; }

static struct timespec now(void) {
    struct timespec time;
    syscall(SYS_clock_gettime, CLOCK_REALTIME, &time);
    return moved(time, set_by());
}

int clock_gettime(clockid_t clock, struct timespec *time) {
    static int (*real)(clockid_t, struct timespec *);
    if (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE) {
        *time = now();
        return 0;
    }
    if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");
    return real(clock, time);
}

int gettimeofday(struct timeval *restrict time, void *restrict zone) {
    struct timespec found = now();
    (void)zone;
    *time = (struct timeval){found.tv_sec, found.tv_nsec / 1000};
    return 0;
}

time_t time(time_t *into) {
    struct timespec found = now();
    if (into) *into = found.tv_sec;
    return found.tv_sec;
}

int pthread_cond_timedwait(pthread_cond_t *restrict cond, pthread_mutex_t *restrict mutex,
                           const struct timespec *restrict until) {
    static int (*real)(pthread_cond_t *, pthread_mutex_t *, const struct timespec *);
    if (!real) real = dlvsym(RTLD_NEXT, "pthread_cond_timedwait", "GLIBC_2.3.2");
    if (!real) real = dlsym(RTLD_NEXT, "pthread_cond_timedwait");
    /* One that waits by the monotonic clock, which began with the machine, is years before the wall's. */
    struct timespec there = until->tv_sec > now().tv_sec / 2 ? moved(*until, -set_by()) : *until;
    return real(cond, mutex, &there);
}

int sem_timedwait(sem_t *restrict sem, const struct timespec *restrict until) {
    static int (*real)(sem_t *, const struct timespec *);
    if (!real) real = dlsym(RTLD_NEXT, "sem_timedwait");
    struct timespec there = moved(*until, -set_by());
    return real(sem, &there);
}

long syscall(long number, ...) {
    static long (*real)(long, ...);
    if (!real) real = dlsym(RTLD_NEXT, "syscall");
    long a[6];
    va_list rest;
    va_start(rest, number);
    for (int i = 0; i < 6; i++) a[i] = va_arg(rest, long);
    va_end(rest);
    struct timespec there;
    if (number == SYS_futex && (a[1] & FUTEX_CLOCK_REALTIME) && a[3]) {
        there = moved(*(const struct timespec *)a[3], -set_by());
        a[3] = (long)&there;
    }
    return real(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}
