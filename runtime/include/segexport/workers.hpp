// Threads that stay, for work that is shared out many times a second: starting one allocates, handing it work does not.

#ifndef SEGEXPORT_WORKERS_HPP
#define SEGEXPORT_WORKERS_HPP

#include <condition_variable>
#include <mutex>
#include <new>
#include <system_error>
#include <thread>
#include <vector>

namespace segexport {

class Workers {
   public:
    // threads: how many share the work, the caller's included; fewer where the system gives no more.
    explicit Workers(int threads) {
        others_.reserve(threads > 1 ? threads - 1 : 0);
        for (int i = 1; i < threads; ++i) {
            try {
                others_.emplace_back([this, i] { serve(i); });
            } catch (const std::system_error&) {
                break;
            } catch (const std::bad_alloc&) {  // nor may it pass: the threads before would still be running
                break;
            }
        }
    }
    Workers(const Workers&) = delete;
    Workers& operator=(const Workers&) = delete;
    ~Workers() {
        {
            const std::lock_guard<std::mutex> lock(mutex_);
            ended_ = true;
        }
        given_.notify_all();
        for (auto& other : others_) other.join();
    }

    int count() const { return static_cast<int>(others_.size()) + 1; }

    // Calls work(share, count()) for every share from 0 to count() - 1, each on a thread of its own; returns when all
    // are done. One thread calls this at a time, and not from within. What `work` throws ends the program: the other
    // shares would still be using it.
    template <typename Work>
    void each(const Work& work) {
        const auto call = [](const void* context, int share, int shares) noexcept {
            (*static_cast<const Work*>(context))(share, shares);
        };
        if (others_.empty()) {
            call(&work, 0, 1);
            return;
        }
        {
            const std::lock_guard<std::mutex> lock(mutex_);
            context_ = &work;
            call_ = call;
            ++round_;
            left_ = static_cast<int>(others_.size());
        }
        given_.notify_all();
        call(&work, 0, count());
        std::unique_lock<std::mutex> lock(mutex_);
        done_.wait(lock, [this] { return left_ == 0; });
    }

   private:
    void serve(int share) {
        unsigned long long seen = 0;
        std::unique_lock<std::mutex> lock(mutex_);
        for (;;) {
            given_.wait(lock, [&] { return ended_ || round_ != seen; });
            if (ended_) return;
            seen = round_;
            const auto call = call_;
            const void* const context = context_;
            const int shares = count();
            lock.unlock();
            call(context, share, shares);
            lock.lock();
            if (--left_ == 0) done_.notify_one();
        }
    }

    std::mutex mutex_;
    std::condition_variable given_, done_;
    void (*call_)(const void*, int, int) = nullptr;
    const void* context_ = nullptr;
    unsigned long long round_ = 0;
    int left_ = 0;
    bool ended_ = false;
    std::vector<std::thread> others_;
};

}  // namespace segexport

#endif  // SEGEXPORT_WORKERS_HPP
