// Work spread over the processor's cores: threads that wait for the next call, spinning a while and then asleep.
//
// A call's items are taken one after another by whoever is free, the caller among them; what an item computes must not
// depend on who does it.
#pragma once
#include <atomic>
#include <algorithm>
#include <condition_variable>
#include <mutex>
#include <new>
#include <system_error>
#include <thread>
#if defined(__unix__) || defined(__APPLE__)
#include <pthread.h>
#endif

#include "vectors.hpp"

namespace fphi {

// A few cycles in which the core's other hardware thread, if there is one, goes first.
inline void rest() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("yield");
#endif
}

class Team {
 public:
  struct Call {
    void (*item)(const void *, Int);
    const void *work;
    Int count;
    std::atomic<Int> next{0};
    std::atomic<bool> failed{false};
    void take_part() {
      for (Int i; (i = next.fetch_add(1, std::memory_order_relaxed)) < count;) try {
          item(work, i);
        } catch (...) {
          failed = true;
        }
    }
  };

 private:
  static constexpr int SPINS = 4000;  // some hundred microseconds: kernels follow each other faster

  std::mutex busy;  // one call at a time; who comes meanwhile does it alone
  std::mutex asleep;
  std::condition_variable wake;
  std::atomic<uint64_t> number{0};  // of calls so far
  std::atomic<Call *> call{nullptr};
  std::atomic<Int> places{0}, inside{0};  // for helpers: how many may still join, and how many look at `call`
  Int helpers = 0;

  void help() {
    uint64_t seen = 0;
    for (;;) {
      for (int i = 0; i < SPINS && number.load(std::memory_order_acquire) == seen; i++) rest();
      if (number.load(std::memory_order_acquire) == seen) {
        std::unique_lock<std::mutex> lock(asleep);
        wake.wait(lock, [&] { return number.load(std::memory_order_acquire) != seen; });
      }
      seen = number.load(std::memory_order_acquire);
      inside.fetch_add(1);
      if (Call *now = call.load())
        if (places.fetch_sub(1) > 0) now->take_part();
      inside.fetch_sub(1);
    }
  }

  void recruit(Int wanted) {
    try {
      for (; helpers < wanted; helpers++) std::thread([this] { help(); }).detach();
    } catch (const std::system_error &) {  // the system grants no more: those that are here do it
    }
  }

 public:
  void run(Call &now, Int threads) {
    std::unique_lock<std::mutex> mine(busy, std::try_to_lock);
    if (!mine.owns_lock()) return now.take_part();
    recruit(threads - 1);
    places = threads - 1;
    call = &now;
    {
      std::lock_guard<std::mutex> lock(asleep);
      number.fetch_add(1);
    }
    wake.notify_all();
    now.take_part();
    call = nullptr;
    for (int i = 0; inside.load() > 0; i++) i < SPINS ? rest() : std::this_thread::yield();
  }

  // The process's own: never destroyed, since its threads wait in it, and another one in a forked process.
  static std::atomic<Team *> &current() {
    static std::atomic<Team *> team{nullptr};
    return team;
  }
  static Team &ours() {
    static std::once_flag once;
    std::call_once(once, [] {
      current() = new Team;
#if defined(__unix__) || defined(__APPLE__)
      pthread_atfork(nullptr, nullptr, [] { current() = new Team; });
#endif
    });
    return *current();
  }
};

// f(i) for each i below `count`, by at most so many threads at a time.
template <class F> void spread(Int count, Int threads, const F &f) {
  if (threads < 2 || count < 2) {
    for (Int i = 0; i < count; i++) f(i);
    return;
  }
  Team::Call now{[](const void *work, Int i) { (*static_cast<const F *>(work))(i); }, &f, count};
  Team::ours().run(now, std::min(threads, count));
  if (now.failed) throw std::bad_alloc();
}

}  // namespace fphi
