-- Asks a job to stop: at once when it does not run, by a mark for the leader when it does. A weaker reason than the
-- one that stands changes nothing.
-- KEYS: job, events, queued, leader
-- ARGV: call, id, reason, leader's generation (0: none), event of a mark, phase it goes to, event when it goes at once
local job, events, queued, leader = unpack(KEYS)
local call, id, reason, generation, marked, to, went = unpack(ARGV)
local strength = {none = 0, resize = 1, preempt = 2, pause = 3, sweep = 4, cancel = 5}

local state = read_state(job)
if not state then
  return not_found(id)
end
if has_call(state, call) then
  return done(job)
end
local refusal = fenced(leader, generation)
if refusal then
  return refusal
end
local phase = state.phase
if is_final(phase) then
  return ended_already(id, phase)
end
local now = number_text(now_ms())
if phase == 'running' then
  if strength[state.stop] < strength[reason] then
    state.stop = reason
    remember_call(state, call)
    write_state(job, state)
    add_event(events, marked, now)
  end
  return done(job)
end
if to == 'queued' then
  return refuse('conflict', 'the job does not run (' .. phase .. '), it cannot be stopped to ' .. reason .. ': ' .. id)
end
if phase == to then
  return done(job)
end
if phase == 'validating_files' and to == 'paused' then
  return refuse('conflict', 'a job that is ' .. phase .. ' cannot be ' .. to .. ': ' .. id)
end
if phase == 'queued' then
  remove_queued(queued, state, id)
end
state.phase = to
if is_final(to) then
  state.stop, state.finished_at_ms = reason, now
end
remember_call(state, call)
write_state(job, state)
add_event(events, went, now)
return done(job)
