// The benchmark's workload as a hand-written event loop, on variates drawn beforehand.
//
// usage: event_loop VCPUS ACCESSES_PER_VCPU FILE ROUNDS
// FILE holds int64 think times and then device times, vCPU by vCPU, in ps. Prints the mean latency
// in ps and the seconds of the fastest round. A linear scan finds the next vCPU; a lock makes an
// event only when somebody waits; stages are recorded for every access.

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
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

int main(int argc, char** argv) {
  if (argc != 5) return 2;
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
      Stages& s = stages[me * 8192 + (v.access & 8191)];
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
          ++v.access;
          v.state = kThink;
          if (v.access < per_vcpu) {  // the next access begins at once: no event
            const std::size_t next = row + 1;
            Stages& t = stages[me * 8192 + (v.access & 8191)];
            t.think = think[next];
            v.begun = now + kEntry + think[next];
            t.exit = kExit;
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
}
