// Runs the whole design with its serial pins: bytes for `rx` on standard input, bytes from `tx` on standard output.
//
// Characters are put on and taken off the pins bit by bit, at the times of the configured baud rate. Simulated time
// passes while characters move on either line or the circuit works; otherwise the program sleeps until the
// next byte, so an idle board costs nothing. End of input ends the simulation.
// Arguments: half clock period in picoseconds, waveform file ("" for none), clock frequency, baud rate.

#include <poll.h>
#include <unistd.h>

#include <deque>
#include <vector>

#include "simulation.h"

namespace {

constexpr int BITS = 10;              // start, 8 data, stop
constexpr int BATCH = 256;            // cycles between looks at standard input
constexpr int LINGER_CHARACTERS = 50;  // time that passes after the last sign of life

// Sends characters: bit k begins round(k * clock / baud) cycles after the character does.
class Sender {
  public:
    Sender(uint64_t clock, uint64_t baud) {
        for (uint64_t k = 0; k <= BITS; ++k) edges_[k] = (2 * k * clock + baud) / (2 * baud);
    }

    bool idle() const { return !active_ && queue.empty(); }

    // Level of the line in this cycle.
    bool level() {
        if (!active_) {
            if (queue.empty()) return true;
            character_ = 1u << 9 | unsigned(queue.front()) << 1;
            queue.pop_front();
            active_ = true;
            time_ = 0;
            bit_ = 0;
        }
        const bool value = character_ >> bit_ & 1;
        if (++time_ == edges_[bit_ + 1] && ++bit_ == BITS) active_ = false;
        return value;
    }

    std::deque<uint8_t> queue;

  private:
    uint64_t edges_[BITS + 1], time_ = 0;
    unsigned character_ = 0;
    int bit_ = 0;
    bool active_ = false;
};

// Receives characters: bit k is sampled in its middle; a character without a stop bit is dropped.
class Receiver {
  public:
    Receiver(uint64_t clock, uint64_t baud) {
        for (uint64_t k = 0; k < BITS; ++k) middles_[k] = (2 * k + 1) * clock / (2 * baud);
    }

    bool idle() const { return !active_; }

    void sample(bool line, std::vector<uint8_t> &received) {
        if (!active_) {
            if (line) return;
            active_ = true;
            time_ = 0;
            bit_ = 0;
            character_ = 0;
        }
        if (time_++ != middles_[bit_]) return;
        character_ |= unsigned(line) << bit_;
        if (++bit_ < BITS) return;
        active_ = false;
        if (line) received.push_back(uint8_t(character_ >> 1));
    }

  private:
    uint64_t middles_[BITS], time_ = 0;
    unsigned character_ = 0;
    int bit_ = 0;
    bool active_ = false;
};

// Appends what standard input holds; waits for it when told to. False at its end.
bool fill(std::deque<uint8_t> &queue, bool wait) {
    pollfd input{0, POLLIN, 0};
    if (poll(&input, 1, wait ? -1 : 0) <= 0) return true;
    uint8_t buffer[1024];
    const ssize_t size = read(0, buffer, sizeof buffer);
    if (size <= 0) return false;
    queue.insert(queue.end(), buffer, buffer + size);
    return true;
}

void drain(std::vector<uint8_t> &bytes) {
    for (size_t done = 0; done < bytes.size();) {
        const ssize_t size = write(1, bytes.data() + done, bytes.size() - done);
        if (size <= 0) std::exit(0);  // reader is gone
        done += size_t(size);
    }
    bytes.clear();
}

}  // namespace

int main(int argc, char **argv) {
    if (argc != 5) fail("arguments: HALF_PERIOD_PS WAVE_FILE CLOCK_FREQUENCY BAUD_RATE");
    const uint64_t clock = std::strtoull(argv[3], nullptr, 10), baud = std::strtoull(argv[4], nullptr, 10);
    Simulation simulation(std::strtoull(argv[1], nullptr, 10), argv[2]);
    Vdesign &design = *simulation.design;
    Sender sender(clock, baud);
    Receiver receiver(clock, baud);
    std::vector<uint8_t> received;
    const uint64_t linger = LINGER_CHARACTERS * BITS * clock / baud;
    design.rx = 1;
    simulation.reset();
    for (uint64_t quiet = 0;;) {
        if (sender.queue.empty() && !fill(sender.queue, quiet > linger)) return 0;
        for (int i = 0; i < BATCH; ++i) {
            design.rx = sender.level();
            simulation.edge();
            receiver.sample(design.tx, received);
        }
        const bool alive = !sender.idle() || !receiver.idle() || !received.empty() || design.busy;
        quiet = alive ? 0 : quiet + BATCH;
        drain(received);
    }
}
