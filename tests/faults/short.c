/* short N PROGRAM ARGUMENT...: runs a program whose N-th read or write after it looked for a file called `begin-faults` is asked
 * for half of what it wanted: a short read or write, as a signal, a quota or a network file system makes them. Prints
 * `short N` on stderr if there were that many. x86-64 Linux. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

static int moves_bytes(long call) { return call == SYS_read || call == SYS_write || call == SYS_pread64 || call == SYS_pwrite64; }

/* Whether the path of a stat-like call ends with the marker. */
static int is_marker(pid_t pid, unsigned long address) {
    char path[256];
    for (size_t i = 0; i + sizeof(long) < sizeof path; i += sizeof(long)) {
        long word = ptrace(PTRACE_PEEKDATA, pid, address + i, 0);
        memcpy(path + i, &word, sizeof word);
        path[i + sizeof word] = 0;
        if (memchr(path + i, 0, sizeof word)) break;
    }
    return strstr(path, "begin-faults") != NULL;
}

int main(int argc, char **argv) {
    if (argc < 3) return 2;
    long wanted = atol(argv[1]), seen = 0;
    int begun = 0, status;
    pid_t child = fork();
    if (child == 0) {
        ptrace(PTRACE_TRACEME, 0, 0, 0);
        raise(SIGSTOP);
        execvp(argv[2], argv + 2);
        _exit(127);
    }
    waitpid(child, &status, 0);
    ptrace(PTRACE_SETOPTIONS, child, 0, PTRACE_O_TRACECLONE | PTRACE_O_EXITKILL | PTRACE_O_TRACESYSGOOD);
    ptrace(PTRACE_SYSCALL, child, 0, 0);
    /* Threads are few: whether each is inside a call. */
    static char inside[1 << 22];
    for (;;) {
        pid_t pid = waitpid(-1, &status, __WALL);
        if (pid < 0) return 1;
        if (WIFEXITED(status) || WIFSIGNALED(status)) {
            if (pid == child) return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
            continue;
        }
        int signal = WSTOPSIG(status);
        if (signal == (SIGTRAP | 0x80)) {
            struct user_regs_struct regs;
            ptrace(PTRACE_GETREGS, pid, 0, &regs);
            inside[pid] = !inside[pid];
            if (inside[pid]) {
                if (!begun && (regs.orig_rax == SYS_statx || regs.orig_rax == SYS_newfstatat)) begun = is_marker(pid, regs.rsi);
                if (begun && moves_bytes((long)regs.orig_rax) && regs.rdx > 1 && ++seen == wanted) {
                    regs.rdx /= 2;
                    ptrace(PTRACE_SETREGS, pid, 0, &regs);
                    fprintf(stderr, "short %ld\n", wanted);
                }
            }
            signal = 0;
        } else if (signal == SIGTRAP || signal == SIGSTOP) {
            signal = 0;
        }
        ptrace(PTRACE_SYSCALL, pid, 0, signal);
    }
}
