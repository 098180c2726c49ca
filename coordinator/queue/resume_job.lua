-- Lets a paused job wait for slots again; of one that is still stopping, what it stops for becomes weaker.
-- KEYS: job, events, queued   ARGV: call, id, event when queued, event when it still stops
local job, events, queued = unpack(KEYS)
local call, id, resumed, early = unpack(ARGV)

local state = read_state(job)
if not state then
  return not_found(id)
end
if has_call(state, call) then
  return done(job)
end
if is_final(state.phase) then
  return ended_already(id, state.phase)
end
if state.stop == 'cancel' or state.stop == 'sweep' then
  return refuse('conflict', 'the job is being cancelled: ' .. id)
end
local now = number_text(now_ms())
if state.phase == 'paused' then
  state.phase, state.queued_at_ms = 'queued', now
  remember_call(state, call)
  write_state(job, state, 'not_before_ms', '0')
  add_queued(queued, state, id)
  note_requeued(id)
  add_event(events, resumed, now)
elseif state.phase == 'running' and state.stop == 'pause' then
  state.stop = 'preempt'
  remember_call(state, call)
  write_state(job, state)
  add_event(events, early, now)
end
return done(job)
