# TensorRT, or TensorRT for RTX: its headers, and its library where there is one.
#
#   -DTensorRT_ROOT=...               folder with include/NvInferRuntime.h, and lib/
#   -DSEGEXPORT_TENSORRT_LIBRARY=...  the library's file, where it is elsewhere or its name has a version
#
# Sets TensorRT_FOUND, TensorRT_VERSION, TensorRT_RTX (whether it is the one for RTX), and makes the target
# TensorRT::nvinfer. Headers alone are enough to compile.

set(SEGEXPORT_TENSORRT_LIBRARY "" CACHE FILEPATH "TensorRT's library: libnvinfer.so or libtensorrt_rtx.so")

find_path(TensorRT_INCLUDE_DIR NvInferRuntime.h PATH_SUFFIXES include DOC "Folder with TensorRT's headers")
find_library(TensorRT_LIBRARY NAMES nvinfer tensorrt_rtx PATH_SUFFIXES lib lib64 DOC "TensorRT's library")
if(SEGEXPORT_TENSORRT_LIBRARY)
    set(_library "${SEGEXPORT_TENSORRT_LIBRARY}")
elseif(TensorRT_LIBRARY)
    set(_library "${TensorRT_LIBRARY}")
else()
    set(_library "")
endif()

# 10.3 writes the numbers themselves, later ones name them _ENTERPRISE, and TensorRT for RTX names them _RTX.
set(TensorRT_RTX OFF)
if(TensorRT_INCLUDE_DIR AND EXISTS "${TensorRT_INCLUDE_DIR}/NvInferVersion.h")
    file(STRINGS "${TensorRT_INCLUDE_DIR}/NvInferVersion.h" _lines REGEX "^#define (NV_TENSORRT|TRT)_[A-Z_]+ ")
    set(TensorRT_VERSION "")
    foreach(_part MAJOR MINOR PATCH)
        string(REGEX MATCH "(NV_TENSORRT_${_part}|TRT_${_part}_(ENTERPRISE|RTX)) ([0-9]+)" _found "${_lines}")
        string(APPEND TensorRT_VERSION ".${CMAKE_MATCH_3}")
    endforeach()
    string(SUBSTRING "${TensorRT_VERSION}" 1 -1 TensorRT_VERSION)
    if("${_lines}" MATCHES "TRT_MAJOR_RTX")
        set(TensorRT_RTX ON)
    endif()
endif()
if("${_library}" MATCHES "tensorrt_rtx")
    set(TensorRT_RTX ON)
endif()

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(TensorRT REQUIRED_VARS TensorRT_INCLUDE_DIR VERSION_VAR TensorRT_VERSION
    REASON_FAILURE_MESSAGE "pass -DTensorRT_ROOT=<folder with include/NvInferRuntime.h>")

if(TensorRT_FOUND AND NOT TARGET TensorRT::nvinfer)
    add_library(TensorRT::nvinfer INTERFACE IMPORTED)
    target_include_directories(TensorRT::nvinfer SYSTEM INTERFACE "${TensorRT_INCLUDE_DIR}")
    if(_library)
        target_link_libraries(TensorRT::nvinfer INTERFACE "${_library}")
    else()
        message(STATUS "TensorRT: headers without a library, which are enough to compile; programs need "
            "-DSEGEXPORT_TENSORRT_LIBRARY=<libnvinfer.so>")
    endif()
endif()
mark_as_advanced(TensorRT_INCLUDE_DIR TensorRT_LIBRARY)
