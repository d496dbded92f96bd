// The five functions of LZ4 and zlib that Verilator's FST writer calls, so that waveforms need no development packages.
//
// The build puts this file in their place (as lz4.h and zlib.h). LZ4: a greedy compressor for the block format,
//     block = sequences of: token (literals << 4 | match - 4), lengths of 15 and more continued in bytes, literals,
//             offset of the match (2 bytes)
// whose last sequence has literals only, at least 5, and whose last match begins at least 12 bytes before the end.
// zlib: stored blocks; the writer keeps uncompressed data where it is the smaller.
#pragma once

#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <vector>

inline int LZ4_compressBound(int size) { return size + size / 255 + 16; }

inline int LZ4_compress_default(const char *source, char *target, int size, int capacity) {
    if (capacity < LZ4_compressBound(size)) return 0;
    constexpr int BITS = 14, MIN_MATCH = 4, LAST_LITERALS = 5, MATCH_LIMIT = 12, FARTHEST = 65535;
    std::vector<int> latest(1 << BITS, -1);  // where each hash of four bytes was seen last
    const auto word = [&](int at) {
        uint32_t value;
        std::memcpy(&value, source + at, 4);
        return value;
    };
    char *out = target;
    const auto length = [&](int value) {
        for (; value >= 255; value -= 255) *out++ = char(255);
        *out++ = char(value);
    };
    const auto literals = [&](int from, int count, int match) {  // token and literals of a sequence
        *out++ = char((count < 15 ? count : 15) << 4 | (match < 15 ? match : 15));
        if (count >= 15) length(count - 15);
        std::memcpy(out, source + from, size_t(count));
        out += count;
    };
    int anchor = 0;
    for (int at = 0; at < size - MATCH_LIMIT;) {
        const uint32_t hash = word(at) * 2654435761u >> (32 - BITS);
        const int candidate = latest[hash];
        latest[hash] = at;
        if (candidate < 0 || at - candidate > FARTHEST || word(candidate) != word(at)) {
            ++at;
            continue;
        }
        int match = MIN_MATCH;
        while (at + match < size - LAST_LITERALS && source[candidate + match] == source[at + match]) ++match;
        literals(anchor, at - anchor, match - MIN_MATCH);
        *out++ = char((at - candidate) & 255);
        *out++ = char((at - candidate) >> 8);
        if (match - MIN_MATCH >= 15) length(match - MIN_MATCH - 15);
        at += match;
        anchor = at;
    }
    literals(anchor, size - anchor, 0);
    return int(out - target);
}

using uLong = unsigned long;
using uLongf = uLong;
using Bytef = unsigned char;
constexpr int Z_OK = 0;

inline uLong compressBound(uLong size) { return size + 5 * (size / 65535 + 1) + 6; }

inline int compress2(Bytef *target, uLongf *target_size, const Bytef *source, uLong size, int) {
    Bytef *out = target;
    *out++ = 0x78;
    *out++ = 0x01;
    uLong a = 1, b = 0, done = 0;
    do {
        const uLong count = size - done < 65535 ? size - done : 65535;
        *out++ = done + count == size;
        for (const uLong value : {count, ~count}) {
            *out++ = Bytef(value & 255);
            *out++ = Bytef(value >> 8 & 255);
        }
        for (uLong i = 0; i < count; ++i) {
            a = (a + source[done + i]) % 65521;
            b = (b + a) % 65521;
        }
        if (count) std::memcpy(out, source + done, count);
        out += count;
        done += count;
    } while (done < size);
    for (const uLong value : {b >> 8, b & 255, a >> 8, a & 255}) *out++ = Bytef(value);
    *target_size = uLongf(out - target);
    return Z_OK;
}
