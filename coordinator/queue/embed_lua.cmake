# cmake -DOUTPUT=… -DPRELUDE=a.lua -DSCRIPTS="b.lua;c.lua" -P embed_lua.cmake: the scripts as one C++ header, each after
# the prelude.
set(text "#pragma once\n\n// Made from coordinator/queue/*.lua by embed_lua.cmake.\n\nnamespace tunefleet::coordinator::lua {\n")
file(READ ${PRELUDE} prelude)
foreach(script IN LISTS SCRIPTS)
  file(READ ${script} lines)
  get_filename_component(name ${script} NAME_WE)
  string(APPEND text "\ninline constexpr char ${name}[] = R\"lua(${prelude}${lines})lua\";\n")
endforeach()
string(APPEND text "\n}  // namespace tunefleet::coordinator::lua\n")
file(WRITE ${OUTPUT} "${text}")
