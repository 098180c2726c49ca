#pragma once

#include <ATen/ATen.h>  // What the precompiled header would bring.
#include <ATen/Parallel.h>

/// at::parallel_for is a template around OpenMP's pragmas: in a file that is compiled without
/// OpenMP it runs on one thread, and says nothing. Files that use it include this instead, and are
/// named to ft_use_threads() in their CMakeLists.txt.
#ifndef _OPENMP
#error "at::parallel_for needs OpenMP: name this file to ft_use_threads() in its CMakeLists.txt"
#endif
