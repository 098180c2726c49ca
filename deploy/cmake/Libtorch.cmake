# libtorch out of the project's virtual environment (deploy/dependencies), as imported targets.
#
#   ft::torch       the CPU half: libtorch_cpu and libc10; starts in half a second and needs no CUDA toolkit
#   ft::torch_cuda  the CUDA half and NCCL, only with a CUDA toolkit; linked by the CUDA plug-in alone
#   ft_torch_pch    the precompiled header of tensors; use through ft_use_torch(target)
#
# torch's own CMake package is not used: it looks for a GPU, and fails without a toolkit.

set(TUNEFLEET_TORCH_DIR "" CACHE PATH "The torch package's folder; empty: found in .venv")
if(NOT TUNEFLEET_TORCH_DIR)
  file(GLOB torch_candidates ${PROJECT_SOURCE_DIR}/.venv/lib/python3*/site-packages/torch)
  list(POP_FRONT torch_candidates torch_found)
  if(NOT torch_found)
    message(FATAL_ERROR "libtorch is not installed. Run deploy/dependencies, or name it: "
                        "-DTUNEFLEET_TORCH_DIR=$(python3 -c 'import torch; print(torch.__path__[0])')")
  endif()
  set(TUNEFLEET_TORCH_DIR ${torch_found} CACHE PATH "" FORCE)
endif()
set(torch_lib ${TUNEFLEET_TORCH_DIR}/lib)
message(STATUS "libtorch: ${TUNEFLEET_TORCH_DIR}")

add_library(ft_torch INTERFACE)
add_library(ft::torch ALIAS ft_torch)
target_include_directories(
  ft_torch SYSTEM INTERFACE ${TUNEFLEET_TORCH_DIR}/include
                            ${TUNEFLEET_TORCH_DIR}/include/torch/csrc/api/include)
# OpenMP's runtime is the one that torch brings: a second one would have threads of its own.
target_link_libraries(ft_torch INTERFACE ${torch_lib}/libtorch_cpu.so ${torch_lib}/libc10.so ${torch_lib}/libgomp.so.1)
# The wheel's CPU library is linked against its own copies of OpenMP and, through libtorch.so only, CUDA.
target_link_options(ft_torch INTERFACE -Wl,-rpath,${torch_lib} -Wl,--allow-shlib-undefined)

# Tensors and their functions, and nothing else: every file pays for what a precompiled header leaves to instantiate, and
# with all of <torch/torch.h> in it that is 20 s of CPU instead of 3.
set(torch_pch_headers <ATen/ATen.h> <c10/util/StringUtil.h> <algorithm> <functional> <map> <memory> <optional> <string>
                      <vector>)
add_library(ft_torch_pch OBJECT ${PROJECT_SOURCE_DIR}/tuners/torch_pch.cpp)
# The warnings too: -Wpedantic changes a predefined macro, and the header must be compiled as its users are.
target_link_libraries(ft_torch_pch PUBLIC ft_torch PRIVATE ft::warnings)
target_include_directories(ft_torch_pch PUBLIC ${PROJECT_SOURCE_DIR})
target_precompile_headers(ft_torch_pch PRIVATE ${torch_pch_headers})

# Links torch to a target of ours and shares the precompiled header with it.
function(ft_use_torch target)
  target_link_libraries(${target} PUBLIC ft_torch)
  target_precompile_headers(${target} REUSE_FROM ft_torch_pch)
endfunction()

# Compiles these files, which include tuners/parallel.h, with OpenMP; without the precompiled header, which is not.
find_package(OpenMP REQUIRED COMPONENTS CXX)
function(ft_use_threads)
  set_source_files_properties(${ARGN} PROPERTIES COMPILE_OPTIONS ${OpenMP_CXX_FLAGS} SKIP_PRECOMPILE_HEADERS ON)
endfunction()

include(CheckLanguage)
find_package(CUDAToolkit QUIET)
file(GLOB nccl_root ${TUNEFLEET_TORCH_DIR}/../nvidia/nccl)
set(TUNEFLEET_CUDA OFF)
if(CUDAToolkit_FOUND AND nccl_root AND EXISTS ${torch_lib}/libtorch_cuda.so)
  set(TUNEFLEET_CUDA ON)
  add_library(ft_torch_cuda INTERFACE)
  add_library(ft::torch_cuda ALIAS ft_torch_cuda)
  target_include_directories(ft_torch_cuda SYSTEM INTERFACE ${nccl_root}/include
                                                            ${CUDAToolkit_INCLUDE_DIRS})
  target_link_libraries(
    ft_torch_cuda INTERFACE ft_torch ${torch_lib}/libtorch_cuda.so ${torch_lib}/libc10_cuda.so
                            ${nccl_root}/lib/libnccl.so.2 CUDA::cudart)
  target_link_options(ft_torch_cuda INTERFACE -Wl,-rpath,${nccl_root}/lib -Wl,--no-as-needed)
endif()
message(STATUS "CUDA and NCCL: ${TUNEFLEET_CUDA}")

set(MPI_CXX_SKIP_MPICXX ON)
find_package(MPI REQUIRED COMPONENTS CXX)  # MPI::MPI_CXX
