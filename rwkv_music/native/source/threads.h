// Independent tasks on several threads. Threads exist for one call only: there is nothing to shut down,
// and a forked process has no lock held by a thread that does not exist in it.
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
  std::vector<std::thread> workers;
  try {
    for (int64_t i = 1; i < threads && i < count; ++i) workers.emplace_back(work);
  } catch (const std::system_error&) {
    // No more threads are available: the existing ones do all the work.
  }
  work();
  for (auto& thread : workers) thread.join();
}

}  // namespace rwkv_music
