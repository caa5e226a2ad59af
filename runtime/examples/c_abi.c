/* The C interface: segments one raw RGB frame and prints each class's share of it.
 *
 *     c_abi BUNDLE FRAME.rgb HEIGHT WIDTH */

#include <stdio.h>
#include <stdlib.h>

#include "segexport/segexport_c.h"

/* Every error ends here: the library's one line, and exit code 2. */
static int failed(const char *text) {
    fprintf(stderr, "error: %s\n", text);
    return 2;
}

static int print_shares(const segexport_segmenter *net, const uint8_t *mask, size_t pixels) {
    size_t counts[256] = {0};
    int32_t classes = 0, id;
    size_t i;
    for (i = 0; i < pixels; ++i) ++counts[mask[i]];
    if (segexport_get_class_count(net, &classes) != SEGEXPORT_OK) return failed(segexport_last_error());
    for (id = 0; id < classes; ++id) {
        const char *name = NULL;
        if (counts[id] == 0) continue;
        if (segexport_get_class_name(net, id, &name) != SEGEXPORT_OK) return failed(segexport_last_error());
        printf("%7.2f %%  %s\n", 100.0 * (double)counts[id] / (double)pixels, name);
    }
    return 0;
}

static int segment(segexport_segmenter *net, const uint8_t *rgb, uint8_t *mask, int32_t height, int32_t width) {
    const segexport_image image = {
        .struct_size = sizeof image, .data = rgb, .height = height, .width = width, .format = SEGEXPORT_RGB};
    const segexport_result result = {.struct_size = sizeof result, .mask = mask, .height = height, .width = width};
    segexport_timings timings = {.struct_size = sizeof timings};
    if (segexport_run(net, &image, &result) != SEGEXPORT_OK ||
        segexport_get_timings(net, &timings) != SEGEXPORT_OK) {
        return failed(segexport_last_error());
    }
    printf("%dx%d in %.2f ms\n", (int)height, (int)width, timings.total_ms);
    return print_shares(net, mask, (size_t)height * (size_t)width);
}

static int read_frame(const char *path, uint8_t *rgb, size_t size) {
    FILE *const file = fopen(path, "rb");
    const size_t read = file == NULL ? 0 : fread(rgb, 1, size, file);
    if (file != NULL) fclose(file);
    if (read == size) return 0;
    fprintf(stderr, "error: %s has no %lu bytes: pass raw RGB of HEIGHT x WIDTH\n", path, (unsigned long)size);
    return 2;
}

int main(int argc, char **argv) {
    const long height = argc == 5 ? strtol(argv[3], NULL, 10) : 0, width = argc == 5 ? strtol(argv[4], NULL, 10) : 0;
    if (height < 1 || width < 1 || height > 32768 || width > 32768) {
        return failed("c_abi BUNDLE FRAME.rgb HEIGHT WIDTH, sides up to 32768");
    }
    const size_t pixels = (size_t)height * (size_t)width;
    uint8_t *const rgb = malloc(pixels * 3), *const mask = malloc(pixels);
    segexport_segmenter *net = NULL;
    int code = rgb == NULL || mask == NULL ? failed("out of memory") : read_frame(argv[2], rgb, pixels * 3);
    if (code == 0 && segexport_open(argv[1], NULL, &net) != SEGEXPORT_OK) code = failed(segexport_last_error());
    if (code == 0) code = segment(net, rgb, mask, (int32_t)height, (int32_t)width);
    segexport_close(net);
    free(mask);
    free(rgb);
    return code;
}
