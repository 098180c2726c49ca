// Carries the precompiled header that every file with torch shares; see deploy/cmake/Libtorch.cmake.
