// Python's way to runtime/include/segexport/class_map.hpp. The wrapper with types and checks in words is
// segexport/native/__init__.py; the checks here keep memory safe whatever is passed.

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <algorithm>
#include <exception>

#include "segexport/class_map.hpp"

namespace {

// A buffer that is given back when it goes out of scope.
class Array {
   public:
    Array() = default;
    Array(const Array&) = delete;
    Array& operator=(const Array&) = delete;
    ~Array() {
        if (held_) PyBuffer_Release(&view_);
    }
    bool open(PyObject* object, char format, int dimensions, int flags) {
        if (PyObject_GetBuffer(object, &view_, flags | PyBUF_FORMAT | PyBUF_C_CONTIGUOUS) != 0) return false;
        held_ = true;
        if (view_.ndim == dimensions && view_.format != nullptr && view_.format[0] == format &&
            view_.format[1] == '\0') {
            return true;
        }
        PyErr_Format(PyExc_TypeError, "expected a C-contiguous array of %d dimensions, buffer format '%c'", dimensions,
                     format);
        return false;
    }
    Py_ssize_t dim(int i) const { return view_.shape[i]; }
    void* data() const { return view_.buf; }

   private:
    Py_buffer view_{};
    bool held_ = false;
};

// Writes the class maps of `logits` into `map`, and their confidence into `confidence` unless that is null.
PyObject* make(PyObject* logits_object, PyObject* map_object, PyObject* confidence_object, int threads) {
    Array logits, map, confidence;
    if (!logits.open(logits_object, 'f', 4, PyBUF_SIMPLE) || !map.open(map_object, 'B', 3, PyBUF_WRITABLE) ||
        (confidence_object != nullptr && !confidence.open(confidence_object, 'f', 3, PyBUF_WRITABLE))) {
        return nullptr;
    }
    const Py_ssize_t count = logits.dim(0), height = logits.dim(1), width = logits.dim(2), classes = logits.dim(3);
    const Py_ssize_t out_height = map.dim(1), out_width = map.dim(2);
    constexpr Py_ssize_t kLargest = 1 << 24;  // beyond it float32 no longer counts pixels
    bool fits = map.dim(0) == count && classes >= 1 && classes <= segexport::kMaxClasses && threads >= 1;
    for (const Py_ssize_t side : {height, width, out_height, out_width}) fits = fits && side >= 1 && side <= kLargest;
    for (int i = 0; confidence_object != nullptr && i < 3; ++i) fits = fits && confidence.dim(i) == map.dim(i);
    if (!fits) {
        PyErr_SetString(PyExc_ValueError, "logits [N, h, w, classes <= 255] do not fit the arrays [N, H, W]");
        return nullptr;
    }
    const char* failed = nullptr;
    Py_BEGIN_ALLOW_THREADS;
    try {
        segexport::ClassMap made(static_cast<int>(height), static_cast<int>(width), static_cast<int>(classes),
                                 {static_cast<int>(out_height), static_cast<int>(out_width)});
        // Threads of this call: ones that stayed would be missing after a fork.
        segexport::Workers workers(std::min({threads, static_cast<int>(height), static_cast<int>(out_height)}));
        const auto row = static_cast<std::ptrdiff_t>(out_width * sizeof(float));
        for (Py_ssize_t n = 0; n < count; ++n) {
            const Py_ssize_t first = n * out_height * out_width;
            made(static_cast<const float*>(logits.data()) + n * height * width * classes,
                 static_cast<std::uint8_t*>(map.data()) + first, out_width,
                 confidence_object == nullptr ? nullptr : static_cast<float*>(confidence.data()) + first, row, workers);
        }
    } catch (const std::exception&) {
        failed = "no memory or no threads left for the class map";
    }
    Py_END_ALLOW_THREADS;
    if (failed != nullptr) {
        PyErr_SetString(PyExc_RuntimeError, failed);
        return nullptr;
    }
    Py_RETURN_NONE;
}

PyObject* class_map(PyObject*, PyObject* arguments) {
    PyObject *logits = nullptr, *map = nullptr;
    int threads = 1;
    if (!PyArg_ParseTuple(arguments, "OOi", &logits, &map, &threads)) return nullptr;
    return make(logits, map, nullptr, threads);
}

PyObject* confidence(PyObject*, PyObject* arguments) {
    PyObject *logits = nullptr, *map = nullptr, *confidence = nullptr;
    int threads = 1;
    if (!PyArg_ParseTuple(arguments, "OOOi", &logits, &map, &confidence, &threads)) return nullptr;
    return make(logits, map, confidence, threads);
}

PyMethodDef kMethods[] = {
    {"class_map", class_map, METH_VARARGS, "class_map(logits, map, threads): see segexport.native.class_map"},
    {"confidence", confidence, METH_VARARGS,
     "confidence(logits, map, confidence, threads): see segexport.native.confidence"},
    {nullptr, nullptr, 0, nullptr},
};

PyModuleDef kModule = {PyModuleDef_HEAD_INIT, "_class_map", nullptr, -1, kMethods, nullptr, nullptr, nullptr, nullptr};

}  // namespace

PyMODINIT_FUNC PyInit__class_map() { return PyModule_Create(&kModule); }
