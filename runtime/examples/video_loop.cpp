// Frames through an engine, the next one being read while it works; prints frames per second and the stages' times.
//
//     video_loop BUNDLE FRAMES [--frames N] [--size HxW --format rgb|bgr|nv12] [--threads N] [--device D]
//
// FRAMES is a folder of JPEG and PNG files, taken again and again, or a file of raw frames, or - for such from a pipe:
//
//     ffmpeg -i drive.mp4 -f rawvideo -pix_fmt nv12 - | video_loop BUNDLE - --size 720x1280 --format nv12

#include "segexport/segexport.hpp"

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "command.hpp"
#include "frames.hpp"

namespace {

using examples::Command;
using examples::Frame;
using examples::Frames;
using segexport::PixelFormat;
using Clock = std::chrono::steady_clock;

constexpr char kUsage[] =
    "video_loop BUNDLE FRAMES [--frames N] [--size HxW --format rgb|bgr|nv12] [--threads N] [--device D]";

double milliseconds(Clock::duration duration) { return std::chrono::duration<double, std::milli>(duration).count(); }

// A stage's times: of the last frames, as many as there is room for, so that an endless loop allocates nothing.
class Stage {
   public:
    explicit Stage(const char* name) : name_(name) { times_.reserve(kRoom); }

    void add(double ms) {
        if (times_.size() < kRoom) {
            times_.push_back(ms);
        } else {
            times_[at_++ % kRoom] = ms;
        }
    }

    void print() {
        if (times_.empty()) return;
        std::sort(times_.begin(), times_.end());
        std::printf("%-14s %9.2f %9.2f\n", name_, at(0.5), at(0.95));
    }

   private:
    static constexpr std::size_t kRoom = 1 << 16;

    double at(double share) const {  // the smallest time that this share of the frames did not exceed
        const auto rank = static_cast<std::size_t>(share * static_cast<double>(times_.size()) + 0.999999);
        return times_[std::clamp<std::size_t>(rank, 1, times_.size()) - 1];
    }

    const char* name_;
    std::vector<double> times_;
    std::size_t at_ = 0;
};

segexport::Size size_of(const Command& command) {
    const std::string text = command.text("--size");
    segexport::Size size;
    char rest = '\0';
    const bool read = std::sscanf(text.c_str(), "%5dx%5d%c", &size.height, &size.width, &rest) == 2;
    const auto fits = [](int side) { return side >= 1 && side <= segexport::kLargestSide; };
    if (!read || !fits(size.height) || !fits(size.width)) {
        command.fail("--size " + text + " is not a frame's HxW, such as 720x1280");
    }
    return size;
}

std::unique_ptr<Frames> frames_of(const Command& command) {
    const std::string& source = command.arguments()[1];
    const bool raw = command.has("--size") || command.has("--format");
    if (std::filesystem::is_directory(source)) {
        if (raw) command.fail("--size and --format are for raw frames, but " + source + " is a folder");
        return std::make_unique<examples::PictureFrames>(source);
    }
    if (!command.has("--size")) {
        if (source != "-" && !std::filesystem::exists(source)) throw segexport::DataError(source + " does not exist");
        command.fail(source + " is no folder, and raw frames need --size");
    }
    const std::string format = command.text("--format", "rgb");
    constexpr std::array<std::pair<const char*, PixelFormat>, 3> kFormats = {
        {{"rgb", PixelFormat::rgb}, {"bgr", PixelFormat::bgr}, {"nv12", PixelFormat::nv12}}};
    for (const auto& [name, value] : kFormats) {
        if (format == name) return std::make_unique<examples::RawFrames>(source, size_of(command), value);
    }
    command.fail("--format " + format + " is none of rgb, bgr, nv12");
}

void loop(const Command& command) {
    const std::unique_ptr<Frames> source = frames_of(command);
    const bool folder = std::filesystem::is_directory(command.arguments()[1]);
    const int most = command.whole("--frames", folder ? 300 : 1 << 30, 1, 1 << 30);
    segexport::Options options;
    options.threads = command.whole("--threads", 0, 0, 1024);
    options.device = command.text("--device");

    // Two sets: while the engine works on one, the next frame is read into the other. They stand before the engine,
    // which is freed first: a frame under way when an error ends the loop still uses them.
    std::array<Frame, 2> frames;
    std::array<segexport::Mask, 2> masks;
    segexport::Segmenter net = segexport::Segmenter::open(command.arguments()[0], options);
    Stage reading("reading"), preprocessing("preprocessing"), network("network"), class_map("class map");
    Stage call("submit to wait"), period("whole period");

    source->next(frames[0]);
    net.run(frames[0].view, masks[0]);  // the first frame makes the buffers: it is not counted
    int count = 0;
    net.submit(frames[0].view, masks[0]);
    const Clock::time_point start = Clock::now();
    Clock::time_point before = start;
    for (bool more = true; more;) {
        const std::size_t next = static_cast<std::size_t>(count + 1) % 2;
        const Clock::time_point read = Clock::now();
        more = count + 1 < most && source->next(frames[next]);
        if (more) reading.add(milliseconds(Clock::now() - read));
        net.wait();
        const segexport::Timings timings = net.timings();
        if (more) net.submit(frames[next].view, masks[next]);
        // Here masks[count % 2] is what a robot would act on, while the engine works on the next frame.
        preprocessing.add(timings.preprocess_ms);
        network.add(timings.infer_ms);
        class_map.add(timings.postprocess_ms);
        call.add(timings.total_ms);
        const Clock::time_point now = Clock::now();
        period.add(milliseconds(now - before));
        before = now;
        ++count;
    }

    std::printf("%d frames of %s on %s %s: %.2f fps\n", count, to_string(frames[0].view.size()).c_str(),
                net.engine().c_str(), net.precision().c_str(), 1000.0 * count / milliseconds(before - start));
    std::printf("%-14s %9s %9s\n", "ms", "median", "p95");
    for (Stage* stage : {&reading, &preprocessing, &network, &class_map, &call, &period}) stage->print();
}

}  // namespace

int main(int argc, char** argv) {
    return examples::exit_code([&] {
        const Command command(argc, argv, kUsage, {"--frames", "--size", "--format", "--threads", "--device"});
        if (command.arguments().size() != 2) {
            command.fail(std::to_string(command.arguments().size()) + " arguments rather than 2");
        }
        loop(command);
    });
}
