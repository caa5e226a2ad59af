/* A bundle in a program of any language: the C interface to segexport.hpp. C99.
 *
 *     segexport_segmenter *net = NULL;
 *     if (segexport_open("bundle", NULL, &net) != SEGEXPORT_OK) puts(segexport_last_error());
 *
 * Functions return a status; segexport_last_error() says in one line what is wrong and what to do. A null or foolish
 * argument is SEGEXPORT_CONTRACT_ERROR, never a crash. A segmenter is used by one thread at a time; opening several is
 * fine. Sizes are height before width, strides bytes from the start of a row to the start of the next.
 *
 * Every struct begins with its own size, which the caller sets: segexport_image image = {.struct_size = sizeof image};
 * Later versions only add fields at the end, whose zero means what their absence meant; so a program and a library of
 * different versions understand each other, and a field that an older library does not know is refused unless zero. */

#ifndef SEGEXPORT_SEGEXPORT_C_H
#define SEGEXPORT_SEGEXPORT_C_H

#include <stddef.h>
#include <stdint.h>

#define SEGEXPORT_VERSION "0.1.0"

#if defined(__GNUC__)
#define SEGEXPORT_API __attribute__((visibility("default")))
#else
#define SEGEXPORT_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* What a call came to: the classes of errors.hpp. */
typedef int32_t segexport_status;
enum {
    SEGEXPORT_OK = 0,
    SEGEXPORT_ERROR = 1,              /* one of segexport's own errors, but none of those below */
    SEGEXPORT_CONTRACT_ERROR = 2,     /* an argument, an image or a bundle's contract that cannot be served */
    SEGEXPORT_ENGINE_UNAVAILABLE = 3, /* the engine is not compiled in, or its device is missing */
    SEGEXPORT_ENGINE_MISMATCH = 4,    /* an engine that was built for another GPU, system or version */
    SEGEXPORT_DATA_ERROR = 5,         /* a file that is no image */
    SEGEXPORT_BUNDLE_CORRUPT = 6,     /* a bundle that is not what was built */
    SEGEXPORT_OUT_OF_MEMORY = 7,
    SEGEXPORT_UNKNOWN_ERROR = 8       /* anything else, such as an error of the engine's own */
};

/* Channels of an image; of four, the fourth is not looked at. */
enum { SEGEXPORT_RGB = 0, SEGEXPORT_BGR = 1, SEGEXPORT_RGBA = 2, SEGEXPORT_BGRA = 3, SEGEXPORT_NV12 = 4 };

/* Where pixels are: in the program's memory, or in that of the GPU that the engine runs on. */
enum { SEGEXPORT_HOST = 0, SEGEXPORT_DEVICE = 1 };

/* How the luma and chroma of NV12 become RGB: ITU-R BT.601 or BT.709, in limited range (luma 16 to 235) or full. */
enum {
    SEGEXPORT_BT601_LIMITED = 0,
    SEGEXPORT_BT601_FULL = 1,
    SEGEXPORT_BT709_LIMITED = 2,
    SEGEXPORT_BT709_FULL = 3
};

/* What a bundle's graph ends in. */
enum { SEGEXPORT_OUTPUT_MASK = 0, SEGEXPORT_OUTPUT_SCORES = 1, SEGEXPORT_OUTPUT_LOGITS = 2, SEGEXPORT_OUTPUT_TOPK = 3 };

typedef struct segexport_segmenter segexport_segmenter;

typedef struct segexport_options {
    size_t struct_size;
    const char *device; /* an OpenVINO device, or a GPU such as cuda:0; null or "": the one the bundle was built for */
    void *stream;       /* TensorRT: a cudaStream_t of the caller's to work on; null: one of its own */
    int32_t threads;    /* CPU threads; 0: the engine's own default, all cores */
    int32_t own_sizes;  /* TensorRT, not 0: an image whose size a profile of the plan serves is not resized */
} segexport_options;

/* An image that stays the caller's. A stride of 0 means rows without padding. */
typedef struct segexport_image {
    size_t struct_size;
    const uint8_t *data; /* of NV12 the luma */
    ptrdiff_t stride;
    const uint8_t *chroma; /* NV12 alone: U and V in turn, [height / 2, width / 2, 2] */
    ptrdiff_t chroma_stride;
    int32_t height;
    int32_t width;
    int32_t format; /* SEGEXPORT_RGB, ... */
    int32_t memory; /* SEGEXPORT_HOST, ... */
    int32_t yuv;    /* NV12 alone: SEGEXPORT_BT601_LIMITED, ... */
    int32_t reserved;
} segexport_image;

/* The caller's memory for what is found in an image: of the image's size. A stride of 0 means rows without padding. */
typedef struct segexport_result {
    size_t struct_size;
    uint8_t *mask; /* class ids */
    ptrdiff_t mask_stride;
    float *confidence; /* softmax of each pixel's class, 0 to 1, where the contract has it; null: not wanted */
    ptrdiff_t confidence_stride;
    int32_t height;
    int32_t width;
    int32_t memory; /* SEGEXPORT_HOST, ... */
    int32_t reserved;
} segexport_result;

/* What goes into the engine and what comes out of it. */
typedef struct segexport_contract {
    size_t struct_size;
    int32_t height, width;             /* of the network's input */
    int32_t image_height, image_width; /* of the images the engine takes; others are resized, as Pillow would */
    int32_t mask_height, mask_width;   /* of what the engine finds; brought to the image's size afterwards */
    int32_t batch;                     /* -1: any */
    int32_t channel_order;             /* SEGEXPORT_RGB or SEGEXPORT_BGR; images of the other are turned round */
    int32_t output;                    /* SEGEXPORT_OUTPUT_MASK, ... */
    int32_t has_confidence;            /* 1 where a result's confidence can be asked for */
    int32_t reduce_labels;             /* 1 where data sets count from 1, 0 being unlabelled (ADE20K) */
    int32_t reserved;
} segexport_contract;

/* Time of the last frame by stage, in milliseconds. On a GPU, infer_ms is by the GPU's own clock. */
typedef struct segexport_timings {
    size_t struct_size;
    double preprocess_ms;  /* colour, resize, and the copy to a GPU */
    double infer_ms;
    double postprocess_ms; /* class map, resize, and the copy from a GPU */
    double total_ms;       /* of the call, or from submit to the end of wait */
} segexport_timings;

/* The library's version, such as "0.1.0"; SEGEXPORT_VERSION is the header's. */
SEGEXPORT_API const char *segexport_version(void);

/* Why the last call on this thread failed: one line, "" where it did not. Never null; valid until the next call on this
 * thread. */
SEGEXPORT_API const char *segexport_last_error(void);

/* Opens the folder that `segexport build` wrote, on the engine it was built for, after checking every file. options:
 * null for the defaults. *out is null where this fails. */
SEGEXPORT_API segexport_status segexport_open(const char *bundle, const segexport_options *options,
                                              segexport_segmenter **out);

/* Frees a segmenter, after the frame that is under way. Null is let pass, as by free(). */
SEGEXPORT_API void segexport_close(segexport_segmenter *net);

/* Writes an image's class ids, in the image's own size. */
SEGEXPORT_API segexport_status segexport_run(segexport_segmenter *net, const segexport_image *image,
                                             const segexport_result *result);

/* Starts a frame and returns; segexport_wait ends it. The pixels of image and result must stay where they are in
 * between, the two structs need not. One frame is under way at a time: a second submit waits for the first. */
SEGEXPORT_API segexport_status segexport_submit(segexport_segmenter *net, const segexport_image *image,
                                                const segexport_result *result);
SEGEXPORT_API segexport_status segexport_wait(segexport_segmenter *net);

SEGEXPORT_API segexport_status segexport_get_contract(const segexport_segmenter *net, segexport_contract *out);
SEGEXPORT_API segexport_status segexport_get_timings(const segexport_segmenter *net, segexport_timings *out);

/* openvino, tensorrt or tensorrt-rtx; and fp32, bf16, fp16 or int8. These strings and the names live as long as net. */
SEGEXPORT_API segexport_status segexport_get_engine(const segexport_segmenter *net, const char **out);
SEGEXPORT_API segexport_status segexport_get_precision(const segexport_segmenter *net, const char **out);

/* Classes: how many, and the name and the colour (red, green, blue) of each, by id. */
SEGEXPORT_API segexport_status segexport_get_class_count(const segexport_segmenter *net, int32_t *out);
SEGEXPORT_API segexport_status segexport_get_class_name(const segexport_segmenter *net, int32_t id, const char **out);
SEGEXPORT_API segexport_status segexport_get_class_colour(const segexport_segmenter *net, int32_t id, uint8_t out[3]);

#ifdef __cplusplus
}
#endif

#endif /* SEGEXPORT_SEGEXPORT_C_H */
