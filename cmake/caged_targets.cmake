# caged_library(name SOURCES... LIBS...): a static library of ours.
function(caged_library name)
  cmake_parse_arguments(ARG "" "" "SOURCES;LIBS" ${ARGN})
  add_library(${name} STATIC ${ARG_SOURCES})
  target_link_libraries(${name} PUBLIC caged_options ${ARG_LIBS})
endfunction()

# caged_program(name SOURCES... LIBS... [STATIC]): a program, which is also the
# install component of the same name. STATIC programs are bind-mounted into
# sandboxes; sanitizers need a dynamic link, so there STATIC is dropped.
function(caged_program name)
  cmake_parse_arguments(ARG "STATIC" "" "SOURCES;LIBS" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE caged_options ${ARG_LIBS})
  if(ARG_STATIC AND NOT CAGED_SANITIZE)
    target_link_options(${name} PRIVATE -static -Wl,--gc-sections)
    install(TARGETS ${name} RUNTIME DESTINATION lib/caged COMPONENT ${name})
  else()
    install(TARGETS ${name} RUNTIME DESTINATION bin COMPONENT ${name})
  endif()
endfunction()
