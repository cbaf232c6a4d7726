/* quorate-quirks: what emulators of this processor get wrong, asked from inside a real Linux.
 *
 * usage: quorate-quirks [NAME ...]     (without names: all but "swap")
 *   alias    code written through one mapping and run through another
 *   reuse    one page mapped, filled with code, run and unmapped again and again
 *   dma      code that the disk's DMA put into a page that has run before (writes to /dev/vda)
 *   faults   accesses, jumps and instructions that must fail, with signal and address
 *   spaces   processes with other code and data at the same address, one after the other
 *   threads  atomics and locks between four threads
 *   floats   floating point while timer signals arrive
 *   trace    a child stepped instruction by instruction (ptrace)
 *   swap     more memory than there is (run swapon first)
 *
 * Each prints one line or several, "quirk NAME ...", which are the same on every correct processor: a wrong answer shows
 * as a number that is not what it should be. Static: it runs from the initramfs.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/sysinfo.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PAGE = 4096 };
static const char DISK[] = "/dev/vda";

static void check(int ok, const char *what)
{
    if (!ok) {
        perror(what);
        exit(1);
    }
}

static void *pages(size_t bytes, int protection)
{
    void *at = mmap(NULL, bytes, protection, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    check(at != MAP_FAILED, "mmap");
    return at;
}

/* A function that returns `value` (up to 65,535): movz w0, #value; ret. */
static void write_function(uint32_t *at, unsigned value)
{
    at[0] = 0x52800000 | (value & 0xffff) << 5;
    at[1] = 0xd65f03c0;
}

static int call(const void *at) { return ((int (*)(void))(uintptr_t)at)(); }

static void clear_cache(void *at) { __builtin___clear_cache((char *)at, (char *)at + PAGE); }

static void alias(void)
{
    int file = memfd_create("code", 0), wrong = 0;
    check(file >= 0 && ftruncate(file, PAGE) == 0, "memfd");
    uint32_t *writable = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    uint32_t *executable = mmap(NULL, PAGE, PROT_READ | PROT_EXEC, MAP_SHARED, file, 0);
    check(writable != MAP_FAILED && executable != MAP_FAILED, "mmap");
    for (int round = 0; round < 1000; round++) {
        for (int function = 0; function < 4; function++)
            write_function(writable + function * 16, (unsigned)(round + function * 1000));
        clear_cache(writable);
        clear_cache(executable);
        for (int function = 0; function < 4; function++)
            wrong += call(executable + function * 16) != round + function * 1000;
    }
    printf("quirk alias wrong=%d of 4000\n", wrong);
}

static void reuse(void)
{
    int wrong = 0;
    void *where = (void *)0x70000000;
    for (int round = 0; round < 2000; round++) {
        uint32_t *page = mmap(where, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
        check(page != MAP_FAILED, "mmap");
        for (int function = 0; function < 8; function++)
            write_function(page + function * 32, (unsigned)(round + function * 2000));
        check(mprotect(page, PAGE, PROT_READ | PROT_EXEC) == 0, "mprotect");
        clear_cache(page);
        for (int function = 0; function < 8; function++)
            wrong += call(page + function * 32) != round + function * 2000;
        munmap(page, PAGE);
    }
    printf("quirk reuse wrong=%d of 16000\n", wrong);
}

static void dma(void)
{
    enum { ROUNDS = 50 };
    int disk = open(DISK, O_RDWR | O_DIRECT), wrong = 0;
    check(disk >= 0, DISK);
    uint32_t *source = pages(PAGE, PROT_READ | PROT_WRITE);
    for (unsigned round = 0; round < ROUNDS; round++) {
        write_function(source, round + 7);
        check(pwrite(disk, source, PAGE, (off_t)round * PAGE) == PAGE, "write the disk");
    }
    void *page = pages(PAGE, PROT_READ | PROT_WRITE | PROT_EXEC);
    for (unsigned round = 0; round < ROUNDS; round++) {
        check(pread(disk, page, PAGE, (off_t)round * PAGE) == PAGE, "read the disk");
        clear_cache(page);
        for (int again = 0; again < 3; again++)
            wrong += call(page) != (int)(round + 7);
    }
    close(disk);
    printf("quirk dma wrong=%d of %d\n", wrong, 3 * ROUNDS);
}

static sigjmp_buf back;
static volatile int caught;
static void *volatile caught_at;

static void on_fault(int number, siginfo_t *information, void *context)
{
    (void)context;
    caught = number;
    caught_at = information->si_addr;
    siglongjmp(back, 1);
}

/* Through variables, so that the compiler does not object. */
static void peek(volatile uintptr_t at) { (void)*(volatile int *)at; }
static void poke(volatile uintptr_t at) { *(volatile int *)at = 1; }

static const int FAULTS[] = {SIGSEGV, SIGILL, SIGBUS, SIGTRAP, SIGFPE};

/* Runs the code; says which signal came, and how far from `base` its address was. */
#define FAULT(name, base, ...)                                                                     \
    do {                                                                                           \
        caught = 0;                                                                                \
        caught_at = NULL;                                                                          \
        if (sigsetjmp(back, 1) == 0) {                                                             \
            __VA_ARGS__;                                                                           \
        }                                                                                          \
        printf("quirk faults %s signal=%d address=%+lld\n", name, caught,                          \
               (base) == 0 ? 0 : (long long)((uintptr_t)caught_at - (uintptr_t)(base)));           \
    } while (0)

static void faults(void)
{
    struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_NODEFER};
    char *constant = pages(2 * PAGE, PROT_READ);
    uint32_t *code = pages(PAGE, PROT_READ | PROT_WRITE | PROT_EXEC);
    uint64_t identity;

    write_function(code, 1);
    clear_cache(code);
    for (size_t i = 0; i < sizeof FAULTS / sizeof *FAULTS; i++)
        sigaction(FAULTS[i], &action, NULL);
    FAULT("read-low", 0x8, peek(0x10));
    FAULT("write-far", 0x123456789000, poke(0x123456789000));
    FAULT("read-kernel", 0, peek(0xffff000000000000));
    FAULT("write-constant", constant, poke((uintptr_t)constant + PAGE + 1));
    FAULT("run-low", 0x4, call((void *)0x8));
    FAULT("run-data", constant, call(constant));
    FAULT("run-unaligned", code, call((char *)code + 2));
    FAULT("exclusive-unaligned", constant,
          uint32_t value; __asm__ volatile("ldaxr %w0, [%1]" : "=r"(value) : "r"(constant + 1)));
    FAULT("undefined", 0, __asm__ volatile(".inst 0"));
    FAULT("brk", 0, __asm__ volatile("brk #1"));
    FAULT("hvc", 0, __asm__ volatile("hvc #0"));
    FAULT("smc", 0, __asm__ volatile("smc #0"));
    FAULT("msr", 0, __asm__ volatile("msr ttbr0_el1, xzr"));
    FAULT("mrs-emulated", 0, __asm__ volatile("mrs %0, id_aa64isar0_el1" : "=r"(identity)));
    for (size_t i = 0; i < sizeof FAULTS / sizeof *FAULTS; i++)
        signal(FAULTS[i], SIG_DFL);
}

/* What process `number` has at its address. */
static void be_process(int number, int from, int to)
{
    uint32_t *code = mmap((void *)0x60000000, PAGE, PROT_READ | PROT_WRITE | PROT_EXEC,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    volatile int *data = mmap((void *)0x61000000, PAGE, PROT_READ | PROT_WRITE,
                              MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    int wrong;

    check(code != MAP_FAILED && data != MAP_FAILED, "mmap");
    write_function(code, (unsigned)number + 100);
    clear_cache(code);
    *data = number;
    while (read(from, &wrong, sizeof wrong) == sizeof wrong) {
        wrong += call(code) != number + 100;
        wrong += *data != number;
        if (write(to, &wrong, sizeof wrong) != sizeof wrong)
            break;
    }
    _exit(0);
}

static void spaces(void)
{
    enum { PROCESSES = 4, ROUNDS = 300 };
    int pipes[PROCESSES + 1][2], wrong = 0;

    for (int i = 0; i <= PROCESSES; i++)
        check(pipe2(pipes[i], O_CLOEXEC) == 0, "pipe");
    for (int i = 0; i < PROCESSES; i++) {
        pid_t child = fork();
        check(child >= 0, "fork");
        if (child == 0) {
            for (int other = 0; other <= PROCESSES; other++) {
                if (other != i)
                    close(pipes[other][0]);
                close(other == i + 1 ? -1 : pipes[other][1]);
            }
            be_process(i, pipes[i][0], pipes[i + 1][1]);
        }
    }
    for (int round = 0; round < ROUNDS; round++) {
        check(write(pipes[0][1], &wrong, sizeof wrong) == sizeof wrong, "write");
        check(read(pipes[PROCESSES][0], &wrong, sizeof wrong) == sizeof wrong, "read");
    }
    for (int i = 0; i <= PROCESSES; i++) {
        close(pipes[i][0]);
        close(pipes[i][1]);
    }
    for (int i = 0; i < PROCESSES; i++)
        wait(NULL);
    printf("quirk spaces wrong=%d of %d\n", wrong, 2 * PROCESSES * ROUNDS);
}

static atomic_int counted;
static int guarded;
static pthread_mutex_t guard = PTHREAD_MUTEX_INITIALIZER;

static void *count(void *nothing)
{
    for (int i = 0; i < 50000; i++) {
        atomic_fetch_add(&counted, 1);
        pthread_mutex_lock(&guard);
        guarded++;
        pthread_mutex_unlock(&guard);
    }
    return nothing;
}

static void threads(void)
{
    pthread_t started[4];
    for (int i = 0; i < 4; i++)
        check(pthread_create(&started[i], NULL, count, NULL) == 0, "pthread_create");
    for (int i = 0; i < 4; i++)
        pthread_join(started[i], NULL);
    printf("quirk threads atomic=%d locked=%d\n", counted, guarded);
}

static volatile sig_atomic_t alarms;
static void on_alarm(int number) { alarms += number == SIGALRM; }

static void floats(void)
{
    struct itimerval timer = {{0, 2000}, {0, 2000}};
    double sum = 0;
    signal(SIGALRM, on_alarm);
    setitimer(ITIMER_REAL, &timer, NULL);
    for (int i = 1; i < 3000000; i++)
        sum += sqrt(i) * 1.0000001 / (i + 0.5);
    memset(&timer, 0, sizeof timer);
    setitimer(ITIMER_REAL, &timer, NULL);
    printf("quirk floats sum=%.17g alarms=%s\n", sum, alarms > 0 ? "some" : "none");
}

static void trace(void)
{
    int status, steps = 0;
    pid_t child = fork();
    check(child >= 0, "fork");
    if (child == 0) {
        int sum = 0;
        check(ptrace(PTRACE_TRACEME, 0, 0, 0) == 0, "ptrace");
        raise(SIGSTOP);
        for (int i = 0; i < 200; i++)
            sum += i * i;
        _exit(sum & 127);
    }
    waitpid(child, &status, 0);
    while (steps < 20000 && ptrace(PTRACE_SINGLESTEP, child, 0, 0) == 0 && waitpid(child, &status, 0) == child &&
           !WIFEXITED(status))
        steps++;
    printf("quirk trace steps=%d exit=%d\n", steps, WIFEXITED(status) ? WEXITSTATUS(status) : -1);
}

/* Twice over a quarter more than all the memory there is: pages go out to the swap and come back. */
static void swap(void)
{
    struct sysinfo information;
    sysinfo(&information);
    size_t count = information.totalram * information.mem_unit / PAGE * 5 / 4, wrong = 0;
    uint64_t *memory = pages(count * PAGE, PROT_READ | PROT_WRITE);
    for (size_t page = 0; page < count; page++)
        memory[page * (PAGE / 8)] = page * 0x9e3779b97f4a7c15;
    for (size_t page = 0; page < count; page++) {
        wrong += memory[page * (PAGE / 8)] != page * 0x9e3779b97f4a7c15;
        memory[page * (PAGE / 8)]++;
    }
    for (size_t page = count; page-- > 0;)
        wrong += memory[page * (PAGE / 8)] != page * 0x9e3779b97f4a7c15 + 1;
    sysinfo(&information);
    printf("quirk swap wrong=%zu swapped=%s\n", wrong, information.freeswap < information.totalswap ? "yes" : "no");
}

static const struct quirk {
    const char *name;
    void (*run)(void);
} quirks[] = {
    {"alias", alias}, {"reuse", reuse}, {"dma", dma}, {"faults", faults},
    {"spaces", spaces}, {"threads", threads}, {"floats", floats}, {"trace", trace}, {"swap", swap},
};
enum { COUNT = sizeof quirks / sizeof *quirks };

static int run(const char *name)
{
    for (int i = 0; i < COUNT; i++) {
        if (strcmp(name, quirks[i].name) == 0) {
            quirks[i].run();
            return 0;
        }
    }
    fprintf(stderr, "quorate-quirks: no quirk %s\n", name);
    return 64;
}

int main(int argc, char **argv)
{
    int status = 0;
    setvbuf(stdout, NULL, _IOLBF, 0);
    for (int i = 1; i < argc && status == 0; i++)
        status = run(argv[i]);
    for (int i = 0; argc == 1 && i < COUNT - 1; i++)
        quirks[i].run();
    return status;
}
