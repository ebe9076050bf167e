// The physical limit: a minimal single-threaded epoll server, without any of a real server's duties.
//
//   epoll PORT BODY              every request is answered with BODY
//   epoll PORT BODY WEIGHTS      the body's numbers are parsed, standardised, and answered by a logistic regression
//
// WEIGHTS: lines of "mean scale coefficient", one for each of the columns n0, n1, ..., then "0 1 intercept".
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <charconv>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <string>
#include <unordered_map>
#include <vector>

static std::string constant, answer;
static std::vector<double> mean, factor, weight;  // the last weight is the intercept

// {"n0":1.5,"n1":...}: any order, no other keys
static void model(const char* at, const char* end) {
    double sum = weight.back();
    while ((at = static_cast<const char*>(memchr(at, '"', end - at)))) {
        unsigned column = 0;
        double value = 0;
        at = std::from_chars(at + 2, end, column).ptr + 2;  // past the closing quote and the colon
        while (at < end && *at == ' ') at++;
        at = std::from_chars(at, end, value).ptr;
        if (column + 1 < weight.size()) sum += (value - mean[column]) / factor[column] * weight[column];
    }
    double yes = 1 / (1 + std::exp(-sum));
    char text[160], *to = text;
    auto say = [&](const char* words) { to = stpcpy(to, words); };
    say(yes > 0.5 ? "{\"prediction\":1,\"probability\":{\"0\":" : "{\"prediction\":0,\"probability\":{\"0\":");
    to = std::to_chars(to, text + sizeof text, 1 - yes).ptr;
    say(",\"1\":");
    to = std::to_chars(to, text + sizeof text, yes).ptr;
    say("}}");
    answer.assign(text, to - text);
}

// Answers every whole request in `in` and removes it; false: close.
static bool serve(int fd, std::string& in, std::string& out) {
    size_t from = 0;
    out.clear();
    for (;;) {
        size_t head = in.find("\r\n\r\n", from);
        if (head == std::string::npos) break;
        size_t length = 0;
        const char* field = strcasestr(in.c_str() + from, "content-length:");
        if (field && field < in.c_str() + head) length = strtoul(field + 15, nullptr, 10);
        if (in.size() < head + 4 + length) break;
        const std::string* body = &constant;
        if (!weight.empty()) {
            model(in.data() + head + 4, in.data() + head + 4 + length);
            body = &answer;
        }
        out += "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: ";
        out += std::to_string(body->size());
        out += "\r\n\r\n";
        out += *body;
        from = head + 4 + length;
    }
    in.erase(0, from);
    return out.empty() || write(fd, out.data(), out.size()) == static_cast<ssize_t>(out.size());
}

int main(int argc, char** argv) {
    if (argc < 3) return 2;
    constant = argv[2];
    if (argc > 3) {
        std::ifstream file(argv[3]);
        for (double a, b, c; file >> a >> b >> c;) mean.push_back(a), factor.push_back(b), weight.push_back(c);
    }
    int door = socket(AF_INET, SOCK_STREAM, 0), one = 1;
    setsockopt(door, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    sockaddr_in here{};
    here.sin_family = AF_INET;
    here.sin_port = htons(static_cast<uint16_t>(atoi(argv[1])));
    here.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (bind(door, reinterpret_cast<sockaddr*>(&here), sizeof here) || listen(door, 2048)) return perror("bind"), 1;
    int set = epoll_create1(0);
    epoll_event event{EPOLLIN, {.fd = door}}, events[256];
    epoll_ctl(set, EPOLL_CTL_ADD, door, &event);
    std::unordered_map<int, std::string> waiting;
    std::string out;
    char buffer[65536];
    for (;;) {
        int count = epoll_wait(set, events, 256, -1);
        for (int i = 0; i < count; i++) {
            int fd = events[i].data.fd;
            if (fd == door) {
                int got = accept(door, nullptr, nullptr);
                setsockopt(got, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
                event = {EPOLLIN, {.fd = got}};
                epoll_ctl(set, EPOLL_CTL_ADD, got, &event);
                continue;
            }
            ssize_t size = read(fd, buffer, sizeof buffer);
            std::string& in = waiting[fd];
            if (size > 0) in.append(buffer, static_cast<size_t>(size));
            if (size <= 0 || !serve(fd, in, out)) {
                waiting.erase(fd);
                close(fd);
            }
        }
    }
}
