// Runs the core with its bus, without VPI: commands on standard input, answers on standard output.
//
// A command is 16 bytes, little-endian: operation (1 byte), 3 unused, a (32 bits), b (64 bits).
//
//     op  a          b                      then on stdin   answer
//     W   address    words                  the words       -                       one word a cycle
//     R   address    words                  -               the words
//     I   address    cycles at most         -               64 bits: 0 idle, 1 not  until bit 0 of a word is 0
//     C   -          cycles                 -               64 bits: cycles so far
//     V   1 on/0 off -                      -               -                       waveform recording
//
// End of input ends the simulation. A bus that stops answering ends it with one line on standard error.
// Arguments: half clock period in picoseconds, waveform file ("" for none), stall probability, seed.

#include <cstring>
#include <vector>

#include "simulation.h"

// Verilator spells the double underscores of the flattened bus with an escape.
#define request_valid bus___05Frequest___05Fvalid
#define request_ready bus___05Frequest___05Fready
#define request_payload bus___05Frequest___05Fpayload
#define response_valid bus___05Fresponse___05Fvalid
#define response_ready bus___05Fresponse___05Fready
#define response_payload bus___05Fresponse___05Fpayload

namespace {

constexpr uint64_t WATCHDOG = 1000000;  // cycles without progress on the bus

struct Command {
    uint8_t operation;
    uint8_t unused[3];
    uint32_t a;
    uint64_t b;
};
static_assert(sizeof(Command) == 16, "layout of a command");

bool receive(void *data, size_t size) { return std::fread(data, 1, size, stdin) == size; }

void answer(const void *data, size_t size) {
    if (std::fwrite(data, 1, size, stdout) != size || std::fflush(stdout) != 0) std::exit(0);  // reader is gone
}

uint64_t request(uint32_t address, uint32_t data, bool write) {
    return uint64_t(data) | uint64_t(address) << 32 | uint64_t(write) << 60;
}

class Bus {
  public:
    Bus(Simulation &simulation, double stalls, uint64_t seed) : s_(simulation), d_(*simulation.design), stall_(stalls, seed) {
        d_.request_valid = 0;
        d_.response_ready = 0;
    }

    // One cycle with at most one request offered and one response taken.
    void cycle(bool offer, uint64_t payload, bool take, bool &accepted, bool &arrived, uint32_t &word) {
        // A stream may not withdraw what it has offered: stalls only delay the offer.
        offered_ = offer && (offered_ || !stall_());
        d_.request_valid = offered_;
        d_.request_payload = payload;
        d_.response_ready = take && !stall_();
        s_.settle();
        accepted = offered_ && d_.request_ready;
        arrived = d_.response_valid && d_.response_ready;
        word = d_.response_payload;
        if (accepted) offered_ = false;
        s_.edge();
        idle_ = accepted || arrived ? 0 : idle_ + 1;
    }

    void write(uint32_t address, uint32_t word) {
        bool accepted = false, arrived = false;
        uint32_t unused = 0;
        idle_ = 0;
        while (!accepted) {
            cycle(true, request(address, word, true), false, accepted, arrived, unused);
            watch("write to", address);
        }
    }

    void read(uint32_t address, uint64_t count, uint32_t *words) {
        uint64_t issued = 0, received = 0;
        idle_ = 0;
        while (received < count) {
            bool accepted = false, arrived = false;
            uint32_t word = 0;
            cycle(issued < count, request(uint32_t(address + issued), 0, false), true, accepted, arrived, word);
            issued += accepted;
            if (arrived) words[received++] = word;
            watch("read of", uint32_t(address + received));
        }
    }

    void run(uint64_t cycles) {
        d_.request_valid = 0;
        d_.response_ready = 0;
        s_.settle();
        for (uint64_t i = 0; i < cycles; ++i) s_.edge();
    }

  private:
    void watch(const char *what, uint32_t address) {
        if (idle_ < WATCHDOG) return;
        char text[96];
        std::snprintf(text, sizeof text, "%s bus address 0x%07x not answered in %llu cycles", what, address,
                      (unsigned long long)WATCHDOG);
        fail(text);
    }

    Simulation &s_;
    Vdesign &d_;
    Chance stall_;
    bool offered_ = false;
    uint64_t idle_ = 0;
};

uint64_t wait_idle(Simulation &simulation, Bus &bus, uint32_t address, uint64_t cycles) {
    const uint64_t end = simulation.cycles + cycles;
    for (uint64_t gap = 1;; gap = gap < 256 ? gap * 2 : gap) {
        uint32_t status;
        bus.read(address, 1, &status);
        if (!(status & 1)) return 0;
        if (simulation.cycles >= end) return 1;
        bus.run(gap);  // polls are few while the circuit works, and soon after the start of short runs
    }
}

}  // namespace

int main(int argc, char **argv) {
    if (argc != 5) fail("arguments: HALF_PERIOD_PS WAVE_FILE STALL_PROBABILITY SEED");
    Simulation simulation(std::strtoull(argv[1], nullptr, 10), argv[2]);
    Bus bus(simulation, std::strtod(argv[3], nullptr), std::strtoull(argv[4], nullptr, 10));
    simulation.reset();
    std::vector<uint32_t> words;
    Command command;
    while (receive(&command, sizeof command)) {
        switch (command.operation) {
            case 'W':
                words.resize(command.b);
                if (!receive(words.data(), 4 * words.size())) return 0;
                for (uint64_t i = 0; i < command.b; ++i) bus.write(uint32_t(command.a + i), words[i]);
                break;
            case 'R':
                words.resize(command.b);
                bus.read(command.a, command.b, words.data());
                answer(words.data(), 4 * words.size());
                break;
            case 'I': {
                const uint64_t result = wait_idle(simulation, bus, command.a, command.b);
                answer(&result, 8);
                break;
            }
            case 'C':
                bus.run(command.b);
                answer(&simulation.cycles, 8);
                break;
            case 'V':
                simulation.recording = command.a != 0;
                break;
            default:
                fail("unknown command");
        }
    }
    return 0;
}
