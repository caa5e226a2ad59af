/* A libcuda.so.1 that says what the environment tells it: what drivers say that are not at hand. */
#include <stdlib.h>
#include <string.h>

static int told(const char *name, int otherwise) {
    const char *value = getenv(name);
    return value ? atoi(value) : otherwise;
}

int cuInit(unsigned flags) { return told("TOLD_INIT", 0); }
int cuDriverGetVersion(int *version) { *version = told("TOLD_VERSION", 13000); return 0; }
int cuDeviceGetCount(int *count) { *count = told("TOLD_COUNT", 2); return 0; }
int cuDeviceGet(int *device, int index) { *device = 10 + index; return 0; }
int cuDeviceGetName(char *name, int length, int device) {
    strncpy(name, device == 10 ? "NVIDIA One" : "NVIDIA Other", length);
    return 0;
}
int cuDeviceTotalMem_v2(size_t *bytes, int device) { *bytes = (size_t)(device - 9) << 33; return 0; }
int cuDeviceGetAttribute(int *value, int attribute, int device) {
    *value = attribute == 75 ? 8 : attribute == 76 ? 6 + 3 * (device - 10) : -1;
    return 0;
}
int cuGetErrorName(int status, const char **name) {
    *name = status == 999 ? "CUDA_ERROR_UNKNOWN" : 0;
    return status == 999 ? 0 : 1;
}
