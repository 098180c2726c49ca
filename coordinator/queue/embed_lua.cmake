# cmake -DOUTPUT=… -DSCRIPTS="a.lua;b.lua" -P embed_lua.cmake: the scripts as one C++ header.
set(text "#pragma once\n\n// Made from coordinator/queue/*.lua by embed_lua.cmake.\n\nnamespace tunefleet::coordinator::lua {\n")
foreach(script IN LISTS SCRIPTS)
  get_filename_component(name ${script} NAME_WE)
  file(READ ${script} body)
  string(APPEND text "\ninline constexpr char ${name}[] = R\"lua(${body})lua\";\n")
endforeach()
string(APPEND text "\n}  // namespace tunefleet::coordinator::lua\n")
file(WRITE ${OUTPUT} "${text}")
