// Independent tasks on several threads. They live for one call: nothing to shut down, and a process
// that forks finds no lock held by a thread that did not come along.
#pragma once

#include <atomic>
#include <cstdint>
#include <system_error>
#include <thread>
#include <vector>

namespace rwkv_music {

// Calls task(i) for every i in [0, count), on at most `threads` threads.
template <typename Task>
void for_each_task(int64_t count, int threads, const Task& task) {
  std::atomic<int64_t> next{0};
  const auto work = [&] {
    for (int64_t i = next++; i < count; i = next++) task(i);
  };
  std::vector<std::thread> others;
  try {
    for (int64_t i = 1; i < threads && i < count; ++i) others.emplace_back(work);
  } catch (const std::system_error&) {
    // The system gives no more threads: the ones there are do all the work.
  }
  work();
  for (auto& each : others) each.join();
}

}  // namespace rwkv_music
