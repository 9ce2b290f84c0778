// Work on a stream of items in threads, in order, with a bounded number of them in flight.
#pragma once

#include <condition_variable>
#include <deque>
#include <exception>
#include <functional>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

namespace tinysight {

/// `each(work(item))` for every item of `next`, in order; `work` by `workers` threads, `each` in the
/// caller's. Up to `ahead` results wait. What any of the three throws comes out here, after the
/// results before it.
template <typename In, typename Out>
class Ordered {
public:
    Ordered(std::function<std::optional<In>()> next, std::function<Out(const In&)> work,
            std::size_t ahead)
        : next_(std::move(next)), work_(std::move(work)), ahead_(ahead) {}

    void run(int workers, const std::function<void(const Out&)>& each) {
        std::vector<std::jthread> threads;  // joined first: before what they use is gone
        const Stop stop{*this};
        for (int i = 0; i < workers; ++i) threads.emplace_back([this] { worker(); });
        std::unique_lock lock(mutex_);
        while (true) {
            ready_.wait(lock, [&] { return slots_.empty() ? ended_ : slots_.front().done(); });
            if (slots_.empty()) break;
            const Slot slot = std::move(slots_.front());
            slots_.pop_front();
            ++first_;
            room_.notify_one();
            lock.unlock();
            if (slot.failure) {
                stop_threads();
                std::rethrow_exception(slot.failure);
            }
            try {
                each(*slot.out);
            } catch (...) {
                stop_threads();
                throw;
            }
            lock.lock();
        }
    }

private:
    struct Slot {
        std::optional<Out> out;
        std::exception_ptr failure;
        bool done() const { return out || failure; }
    };

    struct Stop {
        Ordered& all;
        ~Stop() { all.stop_threads(); }
    };

    void stop_threads() {
        const std::lock_guard lock(mutex_);
        ended_ = true;
        room_.notify_all();
    }

    void worker() {
        std::unique_lock lock(mutex_);
        while (true) {
            room_.wait(lock, [&] { return ended_ || slots_.size() < ahead_; });
            if (ended_) return;
            std::optional<In> item;
            const std::size_t index = first_ + slots_.size();
            slots_.emplace_back();
            Slot result;
            try {
                item = next_();  // one at a time, in order: the lock is held
            } catch (...) {
                result.failure = std::current_exception();
                ended_ = true;
            }
            if (!item && !result.failure) {
                slots_.pop_back();
                ended_ = true;
            }
            if (item) {
                lock.unlock();
                try {
                    result.out = work_(*item);
                } catch (...) {
                    result.failure = std::current_exception();
                }
                lock.lock();
            }
            if (result.done()) slots_[index - first_] = std::move(result);
            ready_.notify_one();
            if (ended_) room_.notify_all();
        }
    }

    std::function<std::optional<In>()> next_;
    std::function<Out(const In&)> work_;
    std::size_t ahead_, first_ = 0;  // the index of the first slot
    std::deque<Slot> slots_;
    bool ended_ = false;
    std::mutex mutex_;
    std::condition_variable ready_, room_;
};

}  // namespace tinysight
