/* Logs in at a letmein server: letmein [--tcp] [--timeout SECONDS] [--password-file FILE] HOST:PORT USER
 *
 * cc -std=c99 -o letmein letmein.c builds the program; with -DLETMEIN_NO_MAIN, letmein() alone, for a program of yours.
 * It takes 2 KiB of stack, and no memory but what getaddrinfo() may want. */
#define _POSIX_C_SOURCE 200809L
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { WELCOME, REFUSED, INVALID, NO_VERDICT, CONFLICT };
static const char *const VERDICTS[] = {"Welcome to our service.", "User authorization failed."};

struct challenges {
    char digits[33][17];
    int len;
};

struct login { /* all times in microseconds */
    const char *name, *password;
    int server, is_tcp, verdict, requests, sends; /* requests: of the first message; sends: of the present one */
    int64_t start, end, due, heard;               /* due: when to act next; heard: when the verdict came, or -1 */
    struct challenges issued, answered;
    char message[128];
};

static int64_t now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (int64_t)time.tv_sec * 1000000 + time.tv_nsec / 1000;
}

static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

/* One block of MD5 (RFC 1321). */
static void md5_block(uint32_t state[4], const unsigned char *block)
{
    static const uint32_t SINES[64] = {
        0xd76aa478, 0xe8c7b756, 0x242070db, 0xc1bdceee, 0xf57c0faf, 0x4787c62a, 0xa8304613, 0xfd469501,
        0x698098d8, 0x8b44f7af, 0xffff5bb1, 0x895cd7be, 0x6b901122, 0xfd987193, 0xa679438e, 0x49b40821,
        0xf61e2562, 0xc040b340, 0x265e5a51, 0xe9b6c7aa, 0xd62f105d, 0x02441453, 0xd8a1e681, 0xe7d3fbc8,
        0x21e1cde6, 0xc33707d6, 0xf4d50d87, 0x455a14ed, 0xa9e3e905, 0xfcefa3f8, 0x676f02d9, 0x8d2a4c8a,
        0xfffa3942, 0x8771f681, 0x6d9d6122, 0xfde5380c, 0xa4beea44, 0x4bdecfa9, 0xf6bb4b60, 0xbebfbc70,
        0x289b7ec6, 0xeaa127fa, 0xd4ef3085, 0x04881d05, 0xd9d4d039, 0xe6db99e5, 0x1fa27cf8, 0xc4ac5665,
        0xf4292244, 0x432aff97, 0xab9423a7, 0xfc93a039, 0x655b59c3, 0x8f0ccc92, 0xffeff47d, 0x85845dd1,
        0x6fa87e4f, 0xfe2ce6e0, 0xa3014314, 0x4e0811a1, 0xf7537e82, 0xbd3af235, 0x2ad7d2bb, 0xeb86d391};
    static const int SHIFTS[4][4] = {{7, 12, 17, 22}, {5, 9, 14, 20}, {4, 11, 16, 23}, {6, 10, 15, 21}};
    static const int FACTORS[4] = {1, 5, 3, 7}, OFFSETS[4] = {0, 1, 5, 0};
    uint32_t a = state[0], b = state[1], c = state[2], d = state[3];
    for (int i = 0; i < 64; i++) {
        const int round = i / 16, shift = SHIFTS[round][i % 4];
        const uint32_t mixed[] = {(b & c) | (~b & d), (b & d) | (c & ~d), b ^ c ^ d, c ^ (b | ~d)};
        const unsigned char *word = block + 4 * ((FACTORS[round] * i + OFFSETS[round]) % 16);
        uint32_t sum = word[0] | (uint32_t)word[1] << 8 | (uint32_t)word[2] << 16 | (uint32_t)word[3] << 24;
        sum += a + mixed[round] + SINES[i];
        a = d, d = c, c = b, b += sum << shift | sum >> (32 - shift);
    }
    state[0] += a, state[1] += b, state[2] += c, state[3] += d;
}

/* The 32 digits of the MD5 of a text of at most 64 + 128 + 16 bytes. */
static void md5(const char *text, char digits[33])
{
    unsigned char blocks[256] = {0};
    uint32_t state[4] = {0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476};
    const size_t len = strlen(text), end = (len + 8) / 64 * 64 + 64;
    memcpy(blocks, text, len);
    blocks[len] = 0x80;
    blocks[end - 8] = (unsigned char)(len * 8);
    blocks[end - 7] = (unsigned char)(len * 8 >> 8);
    for (size_t at = 0; at < end; at += 64) md5_block(state, blocks + at);
    for (int i = 0; i < 16; i++) sprintf(digits + 2 * i, "%02x", (unsigned)(state[i / 4] >> 8 * (i % 4) & 0xff));
}

/* Adds a challenge; whether it is none of these yet. */
static int add(struct challenges *these, const char *digits)
{
    for (int i = 0; i < these->len; i++)
        if (!strcmp(these->digits[i], digits)) return 0;
    if (these->len < 33) strcpy(these->digits[these->len++], digits);
    return 1;
}

/* Takes a reply; whether all replies so far can be those of one server. */
static int take(struct login *it, const char *reply)
{
    const int is_new = !strncmp(reply, "New challenge ", 14), answered = it->answered.len;
    const char *digits = is_new ? reply + 14 : reply;
    if (strspn(digits, "0123456789abcdef") == 16 && !digits[16]) {
        if (!is_new) add(&it->issued, digits);
        if (it->issued.len > least(32, 2 * it->requests)) return 0;
        if (is_new != (answered > 0) || !add(&it->answered, digits)) return 1;
        if (answered > 5 || (it->heard >= 0 && it->sends == 1 && answered == 1)) return 0;
        char text[64 + 128 + 16 + 1], digest[33];
        sprintf(text, "%s%s%s", it->name, it->password, digits);
        md5(text, digest);
        sprintf(it->message, "%s:%s:%s", it->name, digest, digits);
        it->sends = 0, it->due = 0, it->heard = -1;
        return 1;
    }
    const int is_welcome = !strcmp(reply, VERDICTS[WELCOME]), verdict = is_welcome ? WELCOME : REFUSED;
    if (!answered || (!is_welcome && strcmp(reply, VERDICTS[REFUSED]))) return 1;
    if (it->verdict != NO_VERDICT && it->verdict != verdict) return 0;
    it->verdict = verdict;
    if (it->heard < 0) it->heard = now();
    return 1;
}

static int converse(struct login *it)
{
    static const int64_t WAITS[] = {250000, 375000, 562000, 843000, 1000000};
    char reply[32] = ""; /* of at most 30 bytes, one that is too many, and a NUL */
    for (size_t len = 0;;) {
        const int64_t time = now();
        if (it->heard >= 0) { /* It only listens for replies that contradict the verdict. */
            const int64_t took = least(it->heard - it->start, 100000), shortest = it->issued.len > 1 ? 250000 : 2000;
            it->due = it->is_tcp ? time : least(it->end, it->heard + (took > shortest ? took : shortest));
            if (time >= it->due) return it->verdict;
        } else if (time >= it->end) {
            return NO_VERDICT;
        } else if (time >= it->due) {
            if (send(it->server, it->message, strlen(it->message), MSG_NOSIGNAL) < 0) return NO_VERDICT;
            const int64_t wait = WAITS[least(it->sends++, 4)] * (90 + time % 21) / 100;
            it->due = it->is_tcp ? it->end : least(it->end, time + wait);
            it->requests += it->answered.len == 0;
        }
        if (poll(&(struct pollfd){it->server, POLLIN, 0}, 1, (int)((it->due - time + 999) / 1000)) <= 0) continue;
        const ssize_t received = recv(it->server, reply + len, sizeof reply - 1 - len, 0);
        if (received < 0 && (errno == EAGAIN || errno == EINTR)) continue;
        if (received < 0 || (received == 0 && it->is_tcp)) return NO_VERDICT;
        reply[len += (size_t)received] = 0;
        if (strlen(reply) == len && !take(it, reply)) return CONFLICT;
        if (!it->is_tcp || it->sends == 0) len = 0;
    }
}

/* WELCOME or REFUSED; NO_VERDICT or CONFLICT without a verdict; INVALID for a name, password or time that cannot be. */
int letmein(const char *host, const char *port, const char *name, const char *password, int is_tcp, int timeout_ms)
{
    const size_t len = strlen(name);
    int is_valid = len > 0 && len <= 64 && name[0] != ' ' && name[len - 1] != ' ';
    for (const char *c = name; *c; c++) is_valid &= (unsigned char)*c >= ' ' && *c != 0x7f && *c != ':';
    if (!is_valid || !*password || strlen(password) > 128 || timeout_ms <= 0) return INVALID;
    struct addrinfo hints = {.ai_socktype = is_tcp ? SOCK_STREAM : SOCK_DGRAM}, *found;
    if (getaddrinfo(host, port, &hints, &found)) return NO_VERDICT;
    int untried = 0, result = NO_VERDICT;
    for (struct addrinfo *at = found; at; at = at->ai_next) untried++;
    const int64_t end = now() + (int64_t)timeout_ms * 1000;
    for (struct addrinfo *at = found; at && result == NO_VERDICT; at = at->ai_next, untried--) {
        struct login it = {.name = name, .password = password, .is_tcp = is_tcp, .message = "Authentication Request"};
        it.start = now(), it.end = it.start + (end - it.start) / untried, it.heard = -1, it.verdict = NO_VERDICT;
        if ((it.server = socket(at->ai_family, at->ai_socktype, 0)) < 0) continue;
        fcntl(it.server, F_SETFL, O_NONBLOCK);
        (void)connect(it.server, at->ai_addr, at->ai_addrlen); /* a failure shows in what is sent */
        poll(&(struct pollfd){it.server, POLLOUT, 0}, 1, it.end > it.start ? (int)((it.end - it.start) / 1000) : 0);
        while (!is_tcp && recv(it.server, &(char){0}, 1, 0) >= 0) {} /* came before it was connected, from anybody */
        result = converse(&it);
        close(it.server);
    }
    freeaddrinfo(found);
    return result;
}

#ifndef LETMEIN_NO_MAIN
int main(int argc, char **argv)
{
    static const char *const REASONS[] = {
        "usage: letmein [--tcp] [--timeout SECONDS] [--password-file FILE] HOST:PORT USER\n"
        "The user's name has 1 to 64 bytes and no colon, the password on standard input or in FILE 1 to 128 bytes",
        "no verdict", "the replies cannot all be those of one server: somebody may be forging its address"};
    char password[131], *port;
    int at = 1, is_tcp = 0, seconds = 15, file = STDIN_FILENO, result = INVALID;
    size_t len = 0;
    for (; at < argc && !strncmp(argv[at], "--", 2); at++) {
        if (!strcmp(argv[at], "--tcp")) is_tcp = 1;
        else if (!strcmp(argv[at], "--timeout") && at + 1 < argc) seconds = atoi(argv[++at]);
        else if (!strcmp(argv[at], "--password-file") && at + 1 < argc) file = open(argv[++at], O_RDONLY);
        else break;
    }
    if (argc == at + 2 && (port = strrchr(argv[at], ':')) && seconds > 0 && seconds <= 3600 && file >= 0) {
        while (len < 130 && read(file, password + len, 1) == 1 && password[len] != '\n') len++;
        if (len > 0 && password[len - 1] == '\r') len--;
        password[len] = *port = 0;
        char *host = argv[at] + (*argv[at] == '[');
        host[strcspn(host, "]")] = 0;
        if (strlen(password) == len) result = letmein(host, port + 1, argv[at + 1], password, is_tcp, seconds * 1000);
    }
    if (result <= REFUSED) puts(VERDICTS[result]);
    else fprintf(stderr, "letmein: %s\n", REASONS[result - INVALID]);
    return result == CONFLICT ? NO_VERDICT : result;
}
#endif
