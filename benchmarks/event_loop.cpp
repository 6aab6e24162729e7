// The benchmark's workload as a hand-written event loop, on variates drawn beforehand.
//
// usage: event_loop VCPUS ACCESSES_PER_VCPU FILE ROUNDS lean|full
// FILE holds int64 think times and then device times, vCPU by vCPU, in ps. Prints the mean latency
// in ps and the seconds of the fastest round. A linear scan finds the next vCPU; a lock makes an
// event only when somebody waits; stages are recorded for every access.
//
// "full" keeps all that vmexit-sim keeps: of every access its moments and exits too, and of all of
// them stage totals, exits by reason, and histograms of three latencies, for accesses and again for
// operations (here each access is one).

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

using Time = std::int64_t;
constexpr Time kNever = INT64_MAX;
constexpr Time kExit = 1'000'000, kDecode = 2'000'000, kEntry = 500'000;

enum State { kThink, kWantHandler, kHasHandler, kHasDevice, kDone };

struct Line {
  int free = 2;
  std::vector<int> waiting;
  std::size_t first = 0;
};

struct Vcpu {
  Time wake = 0, clock = 0, begun = 0, since = 0;
  std::int64_t order = 0, access = 0;
  State state = kThink;
};

struct Stages {
  Time think, exit, wait_handler, decode, wait_device, device, entry;
};

struct Moments {
  Time due = -1, start = -1, resume = -1, stall = 0, posted = -1, done = -1;
  std::int64_t exits = 0;
};

struct Tally {
  std::int64_t samples = 0, least = kNever, greatest = 0;
  __int128 total = 0;
  void add(Time time) {
    ++samples;
    total += time;
    least = std::min(least, time);
    greatest = std::max(greatest, time);
  }
};

struct Sketch : Tally {
  static constexpr int kBits = 10;
  std::vector<std::int64_t> counts = std::vector<std::int64_t>((64 - kBits) << kBits);
  void add(Time time) {
    Tally::add(time);
    const int exponent = std::max(63 - kBits - __builtin_clzll(time), 0);
    ++counts[(std::int64_t{exponent} << kBits) + (time >> exponent)];
  }
};

// Everything beyond the stages of each access.
struct Everything {
  std::vector<Moments> moments;
  Sketch of_accesses[3], of_operations[3];
  Tally exits;
  Stages totals{};

  void begin(std::size_t slot, Time now) {
    Moments& m = moments[slot] = Moments{};
    m.due = m.start = now;
    m.exits = 1;
  }
  void end(std::size_t slot, Time done, Time now, const Stages& s) {
    Moments& m = moments[slot];
    m.done = done;
    m.resume = now;
    m.stall += now - m.start;
    exits.add(now - m.start);
    const Time latencies[] = {m.stall, m.resume - m.due, m.done - m.due};
    for (int which = 0; which < 3; ++which) {
      of_accesses[which].add(latencies[which]);
      of_operations[which].add(latencies[which]);
    }
    totals.think += s.think, totals.exit += s.exit, totals.wait_handler += s.wait_handler;
    totals.decode += s.decode, totals.wait_device += s.wait_device, totals.device += s.device;
    totals.entry += s.entry;
  }
};

template <bool kFull>
int simulate(char** argv) {
  const int n = std::atoi(argv[1]);
  const std::int64_t per_vcpu = std::atoll(argv[2]);
  const int rounds = std::atoi(argv[4]);
  std::vector<Time> think(n * per_vcpu), device(n * per_vcpu);
  std::FILE* file = std::fopen(argv[3], "rb");
  if (!file || std::fread(think.data(), 8, think.size(), file) != think.size() ||
      std::fread(device.data(), 8, device.size(), file) != device.size())
    return 1;
  std::fclose(file);
  std::vector<Stages> stages(n * 8192);

  double best = 1e300;
  long double total = 0;
  for (int round = 0; round < rounds; ++round) {
    const auto start = std::chrono::steady_clock::now();
    std::vector<Vcpu> vcpus(n);
    Line handlers, devices;
    std::int64_t counter = 0;
    Time latency = 0;
    std::vector<Everything> everything(kFull);
    if constexpr (kFull) everything[0].moments.resize(n * 8192);
    for (auto& v : vcpus) v.order = counter++;
    for (;;) {
      int me = -1;
      Time now = kNever;
      for (int i = 0; i < n; ++i)
        if (vcpus[i].wake < now ||
            (vcpus[i].wake == now && now != kNever && vcpus[i].order < vcpus[me].order)) {
          me = i;
          now = vcpus[i].wake;
        }
      if (me < 0) break;
      Vcpu& v = vcpus[me];
      v.wake = kNever;
      const std::size_t row = me * per_vcpu + v.access;
      const std::size_t slot = me * 8192 + (v.access & 8191);
      Stages& s = stages[slot];
      const auto later = [&](Time time) { v.wake = time; v.order = counter++; };
      const auto give_back = [&](Line& line) {
        if (line.first < line.waiting.size()) {
          Vcpu& other = vcpus[line.waiting[line.first++]];
          if (line.first == line.waiting.size()) line.waiting.clear(), line.first = 0;
          other.wake = now;
          other.order = counter++;
        } else {
          ++line.free;
        }
      };
      switch (v.state) {
        case kThink:
          if (v.access == per_vcpu) break;
          s.think = think[row];
          v.begun = now + think[row];
          s.exit = kExit;
          if constexpr (kFull) everything[0].begin(slot, v.begun);
          v.state = kWantHandler;
          later(v.begun + kExit);
          break;
        case kWantHandler:
          v.state = kHasHandler;
          v.since = now;
          if (handlers.free > 0) {
            --handlers.free;
            [[fallthrough]];
          } else {
            handlers.waiting.push_back(me);
            break;
          }
        case kHasHandler:
          s.wait_handler = now - v.since;
          s.decode = kDecode;
          v.state = kHasDevice;
          v.since = -1;
          later(now + kDecode);
          break;
        case kHasDevice:
          if (v.since < 0) {
            v.since = now;
            if (devices.free == 0) {
              devices.waiting.push_back(me);
              break;
            }
            --devices.free;
          }
          s.wait_device = now - v.since;
          s.device = device[row];
          v.state = kDone;
          later(now + device[row]);
          break;
        case kDone:
          give_back(devices);
          give_back(handlers);
          s.entry = kEntry;
          latency += now + kEntry - v.begun;
          if constexpr (kFull) everything[0].end(slot, now, now + kEntry, s);
          ++v.access;
          v.state = kThink;
          if (v.access < per_vcpu) {  // the next access begins at once: no event
            const std::size_t next = row + 1;
            const std::size_t its_slot = me * 8192 + (v.access & 8191);
            Stages& t = stages[its_slot];
            t.think = think[next];
            v.begun = now + kEntry + think[next];
            t.exit = kExit;
            if constexpr (kFull) everything[0].begin(its_slot, v.begun);
            v.state = kWantHandler;
            later(v.begun + kExit);
          }
          break;
      }
    }
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
    if (took.count() < best) best = took.count();
    total = static_cast<long double>(latency) / (n * per_vcpu);
  }
  std::printf("%.3Lf %.6f\n", total, best);
  return 0;
}

int main(int argc, char** argv) {
  if (argc != 6) return 2;
  return std::strcmp(argv[5], "full") == 0 ? simulate<true>(argv) : simulate<false>(argv);
}
