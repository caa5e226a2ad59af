# The TensorRT backend: TensorRT's headers and library, and kernels compiled by nvcc.
#
#   -DCMAKE_CUDA_ARCHITECTURES=87     the GPUs to compile kernels for; those that are served by default

list(APPEND CMAKE_MODULE_PATH "${CMAKE_CURRENT_LIST_DIR}")
find_package(TensorRT REQUIRED)
if(NOT TensorRT_RTX AND TensorRT_VERSION VERSION_LESS 10.3)
    message(FATAL_ERROR "TensorRT ${TensorRT_VERSION} is too old: install 10.3 or newer")
endif()

if(NOT DEFINED CMAKE_CUDA_COMPILER AND NOT DEFINED ENV{CUDACXX})
    find_program(SEGEXPORT_NVCC nvcc HINTS /usr/local/cuda/bin DOC "CUDA's compiler")
    if(NOT SEGEXPORT_NVCC)
        message(FATAL_ERROR "The TensorRT backend has CUDA kernels, and nvcc is not found: install the CUDA toolkit, "
            "or pass -DCMAKE_CUDA_COMPILER=<nvcc>")
    endif()
    set(CMAKE_CUDA_COMPILER "${SEGEXPORT_NVCC}")
endif()

if(NOT DEFINED CMAKE_CUDA_ARCHITECTURES)
    # Turing to Blackwell, Jetson's Orin (87) and Thor (110) among them: what this nvcc knows of them.
    set(_wanted 75 80 86 87 89 90 110 120)
    set(_nvcc "${CMAKE_CUDA_COMPILER}")
    if(NOT _nvcc)
        set(_nvcc "$ENV{CUDACXX}")
    endif()
    execute_process(COMMAND "${_nvcc}" --list-gpu-arch OUTPUT_VARIABLE _known RESULT_VARIABLE _failed)
    if(_failed)
        message(FATAL_ERROR "${_nvcc} --list-gpu-arch fails: pass -DCMAKE_CUDA_COMPILER=<nvcc>, or "
            "-DCMAKE_CUDA_ARCHITECTURES=<your GPU's, such as 87>")
    endif()
    set(_taken "")
    set(_dropped "")
    foreach(_one IN LISTS _wanted)
        if("${_known}" MATCHES "compute_${_one}[\r\n]")
            list(APPEND _taken ${_one})
        else()
            list(APPEND _dropped ${_one})
        endif()
    endforeach()
    if(_dropped)
        message(STATUS "This nvcc does not know the GPU architectures ${_dropped}: no kernels for them")
    endif()
    set(CMAKE_CUDA_ARCHITECTURES "${_taken}" CACHE STRING "GPU architectures to compile kernels for")
endif()
enable_language(CUDA)
find_package(CUDAToolkit REQUIRED)

target_sources(segexport PRIVATE
    src/tensorrt/backend.cpp
    src/tensorrt/cuda.cpp
    src/tensorrt/delivery.cpp
    src/tensorrt/driver.cpp
    src/tensorrt/execution.cpp
    src/tensorrt/fitness.cpp
    src/tensorrt/kernels.cu
    src/tensorrt/loading.cpp
    src/tensorrt/messages.cpp
    src/tensorrt/profiles.cpp
    src/tensorrt/upload.cpp)
# The target was made before there was CUDA, and has none of its defaults.
set_target_properties(segexport PROPERTIES CUDA_ARCHITECTURES "${CMAKE_CUDA_ARCHITECTURES}" CUDA_STANDARD 17
    CUDA_STANDARD_REQUIRED ON)
target_include_directories(segexport PRIVATE src)
target_compile_definitions(segexport PRIVATE SEGEXPORT_TENSORRT $<$<BOOL:${TensorRT_RTX}>:SEGEXPORT_TENSORRT_RTX>)
target_compile_options(segexport PRIVATE $<$<COMPILE_LANGUAGE:CUDA>:-Xcompiler=-ffp-contract=off>)
if(SEGEXPORT_WERROR)
    target_compile_options(segexport PRIVATE "$<$<COMPILE_LANGUAGE:CUDA>:-Werror=all-warnings>")
endif()
target_link_libraries(segexport PRIVATE TensorRT::nvinfer CUDA::cudart_static ${CMAKE_DL_LIBS})
