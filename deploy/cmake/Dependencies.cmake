# Libraries from Debian, each as one imported target.

find_package(Threads REQUIRED)
find_package(PkgConfig REQUIRED)
find_package(nlohmann_json REQUIRED)  # nlohmann_json::nlohmann_json
find_package(spdlog REQUIRED)         # spdlog::spdlog
find_package(fmt REQUIRED)            # fmt::fmt
find_package(CLI11 REQUIRED)          # CLI11::CLI11
find_package(Protobuf REQUIRED)       # protobuf::libprotobuf, protobuf_generate()
find_package(OpenSSL REQUIRED)        # OpenSSL::Crypto
find_package(yaml-cpp REQUIRED)       # yaml-cpp
find_package(tl-expected REQUIRED)    # tl::expected
pkg_check_modules(ZMQ REQUIRED IMPORTED_TARGET libzmq)            # PkgConfig::ZMQ (cppzmq is header-only)
pkg_check_modules(HIREDIS REQUIRED IMPORTED_TARGET hiredis)       # PkgConfig::HIREDIS
pkg_check_modules(PCRE2 REQUIRED IMPORTED_TARGET libpcre2-8)      # PkgConfig::PCRE2
pkg_check_modules(UTF8PROC REQUIRED IMPORTED_TARGET libutf8proc)  # PkgConfig::UTF8PROC
pkg_check_modules(HTTPLIB REQUIRED IMPORTED_TARGET cpp-httplib)   # PkgConfig::HTTPLIB
find_package(CURL REQUIRED)           # CURL::libcurl
