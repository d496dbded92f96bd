// What both harnesses share: the design's clock and reset, simulated time, and the optional waveform file.
//
// The design is `Vdesign`, made by Verilator from the generated Verilog, with ports `clk` and `rst`. The build
// defines at most one of WAVE_VCD and WAVE_FST.
#pragma once

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>

#include "Vdesign.h"
#include "verilated.h"
#if defined(WAVE_VCD)
#include "verilated_vcd_c.h"
using WaveFile = VerilatedVcdC;
#elif defined(WAVE_FST)
#include "verilated_fst_c.h"
using WaveFile = VerilatedFstC;
#endif

[[noreturn]] inline void fail(const std::string &message) {
    std::fprintf(stderr, "%s\n", message.c_str());
    std::exit(3);
}

class Simulation {
  public:
    // half_period: picoseconds of half a clock cycle; wave: file name, or empty for none.
    Simulation(uint64_t half_period, const std::string &wave) : half_period_(half_period) {
#if defined(WAVE_VCD) || defined(WAVE_FST)
        context.traceEverOn(true);
#endif
        design = std::make_unique<Vdesign>(&context, "top");
#if defined(WAVE_VCD) || defined(WAVE_FST)
        if (!wave.empty()) {
            wave_ = std::make_unique<WaveFile>();
            design->trace(wave_.get(), 99);
            wave_->open(wave.c_str());
            if (!wave_->isOpen()) fail("cannot write waveform file " + wave);
            recording = true;
        }
#else
        if (!wave.empty()) fail("this simulator was built without waveforms");
#endif
    }

    ~Simulation() {
        design->final();
#if defined(WAVE_VCD) || defined(WAVE_FST)
        if (wave_) wave_->close();
#endif
    }

    void reset() {
        design->clk = 0;
        design->rst = 1;
        for (int i = 0; i < 4; ++i) edge();
        design->rst = 0;
        settle();
    }

    // Propagates changed inputs to combinational outputs, before the clock edge.
    void settle() { design->eval(); }

    // One clock cycle: rising edge, outputs settle after it, falling edge.
    void edge() {
        design->clk = 1;
        design->eval();
        time_ += half_period_;
        dump();
        design->clk = 0;
        design->eval();
        time_ += half_period_;
        dump();
        ++cycles;
    }

    VerilatedContext context;
    std::unique_ptr<Vdesign> design;
    uint64_t cycles = 0;
    bool recording = false;

  private:
    void dump() {
#if defined(WAVE_VCD) || defined(WAVE_FST)
        if (recording) wave_->dump(time_);
#endif
    }

    uint64_t half_period_;
    uint64_t time_ = 0;
#if defined(WAVE_VCD) || defined(WAVE_FST)
    std::unique_ptr<WaveFile> wave_;
#endif
};

// Probability gate for random stalls: a small generator whose sequence depends on the seed alone.
class Chance {
  public:
    Chance(double probability, uint64_t seed) : limit_(uint64_t(probability * 4294967296.0)), state_(seed * 2 + 1) {}

    bool operator()() {
        if (limit_ == 0) return false;
        state_ = state_ * 6364136223846793005u + 1442695040888963407u;
        return (state_ >> 32) < limit_;
    }

  private:
    uint64_t limit_, state_;
};
