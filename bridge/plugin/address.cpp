#include "address.hpp"

#include <arpa/inet.h>
#include <sys/stat.h>

#include <cstdlib>
#include <cstring>
#include <fstream>

namespace rtsep {
namespace {

const std::string kKeyMark = "?key=";
constexpr size_t kIpcRoom = 107 - 4;  // of a path; ".pub" is appended to the other socket's

bool is_key(const std::string& text) {
    static const char* const others = ".-:+=^!/*?&<>()[]{}@%$#";
    if (text.size() != 40) return false;
    for (char c : text) {
        const bool alnum = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
        if (!alnum && std::strchr(others, c) == nullptr) return false;
    }
    return true;
}

bool parse_tcp(const std::string& rest, Address& address, std::string& problem) {
    const size_t colon = rest.rfind(':');
    const std::string digits = colon == std::string::npos ? "" : rest.substr(colon + 1);
    std::string host = rest.substr(0, colon);
    const bool numeric = digits.find_first_not_of("0123456789") == std::string::npos;
    const int port = numeric && !digits.empty() && digits.size() < 6 ? std::atoi(digits.c_str()) : 0;
    if (port < 1 || port > 65534 || host.empty()) {
        problem = "no port from 1 to 65534 in tcp://" + rest + "; expected " + kDefaultAddress;
        return false;
    }
    address.local = host == "localhost";
    if (host.front() == '[') {
        in6_addr six{};
        const std::string bare = host.back() == ']' ? host.substr(1, host.size() - 2) : "";
        if (inet_pton(AF_INET6, bare.c_str(), &six) != 1) {
            problem = host + "; expected an IPv6 address in brackets";
            return false;
        }
        address.ipv6 = true;
        address.local = IN6_IS_ADDR_LOOPBACK(&six);
    } else {
        in_addr four{};
        const bool plain = host.find_first_not_of("0123456789abcdefghijklmnopqrstuvwxyz"
                                                  "ABCDEFGHIJKLMNOPQRSTUVWXYZ._-") == std::string::npos;
        if (!plain) {
            problem = "the host " + host + "; expected a name or an address";
            return false;
        }
        if (inet_pton(AF_INET, host.c_str(), &four) == 1) {
            address.local = ntohl(four.s_addr) >> 24 == 127;
        }
    }
    if (host == "localhost") host = "127.0.0.1";
    address.endpoint = "tcp://" + host + ":" + digits;
    return true;
}

std::string between_quotes(const std::string& line) {
    const size_t first = line.find('"'), last = line.rfind('"');
    return first < last ? line.substr(first + 1, last - first - 1) : "";
}

std::string keys_path() {
    const char* named = std::getenv("RTSEP_BRIDGE_KEYS");
    if (named != nullptr && *named != 0) return std::string(named) + "/client.key_secret";
    const char* config = std::getenv("XDG_CONFIG_HOME");
    const char* home = std::getenv("HOME");
    const std::string base = config != nullptr && *config != 0
                                 ? std::string(config)
                                 : std::string(home != nullptr ? home : "") + "/.config";
    return base + "/rtsep/bridge/client.key_secret";
}

}  // namespace

bool parse_address(const std::string& text, Address& address, std::string& problem) {
    address = {};
    const size_t begin = text.find_first_not_of(" \t\r\n");
    const size_t end = text.find_last_not_of(" \t\r\n");
    std::string endpoint = begin == std::string::npos ? "" : text.substr(begin, end - begin + 1);
    const size_t mark = endpoint.find(kKeyMark);
    if (mark != std::string::npos) {
        address.server_key = endpoint.substr(mark + kKeyMark.size());
        endpoint.resize(mark);
        if (!is_key(address.server_key)) {
            problem = "the key has " + std::to_string(address.server_key.size()) +
                      " characters, or one that no key has; copy the 40 whole from 'rtsep bridge keys'";
            return false;
        }
    }
    bool fits = false;
    if (endpoint.rfind("tcp://", 0) == 0) {
        fits = parse_tcp(endpoint.substr(6), address, problem);
    } else if (endpoint.rfind("ipc://", 0) == 0 && endpoint.size() > 6) {
        fits = endpoint.size() - 6 <= kIpcRoom;
        problem = "a path longer than " + std::to_string(kIpcRoom) + " bytes; choose a shorter one";
        address.endpoint = endpoint;
    } else {
        problem = "the address '" + endpoint + "'; expected tcp://HOST:PORT or ipc://PATH";
    }
    if (fits && !address.local && address.server_key.empty()) {
        problem = address.endpoint + " is beyond this machine: append ?key= and the public key that "
                                     "'rtsep bridge keys' prints there";
        fits = false;
    }
    return fits;
}

bool load_client_keys(KeyPair& pair, std::string& problem) {
    pair = {};
    const std::string path = keys_path();
    struct stat info {};
    std::ifstream file(path);
    if (!file || stat(path.c_str(), &info) != 0) {
        problem = "no client keys (" + path + "); make them: rtsep bridge keys";
        return false;
    }
    if ((info.st_mode & 077) != 0) {
        problem = "others can read " + path + "; chmod 600 it";
        return false;
    }
    std::string line;
    for (int n = 0; n < 100 && std::getline(file, line); ++n) {
        const size_t at = line.find_first_not_of(" \t");
        if (at == std::string::npos || line[at] == '#') continue;
        if (line.compare(at, 10, "public-key") == 0) pair.public_key = between_quotes(line);
        if (line.compare(at, 10, "secret-key") == 0) pair.secret_key = between_quotes(line);
    }
    problem = path + " holds no pair of keys; make new ones: rtsep bridge keys";
    return is_key(pair.public_key) && is_key(pair.secret_key);
}

std::string default_address() {
    const char* named = std::getenv("RTSEP_BRIDGE");
    return named != nullptr && *named != 0 ? named : kDefaultAddress;
}

}  // namespace rtsep
