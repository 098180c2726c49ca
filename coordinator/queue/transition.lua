-- Moves a job from one phase to another, if it is in that phase and of that attempt.
-- KEYS: job, events
-- ARGV: call, id, attempt, from, to, leader's generation (0: none), event, placement and workers of a start ('': as
--       they are), then pairs of field and value
-- Answers the phase, the attempt and the reason to stop that stand then.
local job, events = unpack(KEYS)
local queued, running, leader = 'tf:queued', 'tf:running', 'tf:leader'  -- Ever the same: not sent each time.
local call, id, attempt, from, to, generation, event, placement, workers = unpack(ARGV)

local state = read_state(job)
if not state then
  return not_found(id)
end
if has_call(state, call) then
  return {'ok', state.phase, state.attempt, state.stop}
end
local refusal = fenced(leader, generation)
if refusal then
  return refusal
end
if state.phase ~= from or state.attempt ~= attempt then
  return refuse('conflict', 'the job is ' .. state.phase .. ' in attempt ' .. state.attempt .. ', not ' .. from ..
                ' in attempt ' .. attempt .. ': ' .. id)
end
local stop = state.stop
if to == 'queued' and (stop == 'cancel' or stop == 'sweep' or stop == 'pause') then
  return refuse('conflict', 'the job is to stop (' .. stop .. '), not to be queued again: ' .. id)
end

local now = now_ms()
local now_text = number_text(now)
state.phase = to
remember_call(state, call)
if from == 'running' then
  local ran = now - tonumber(state.started_at_ms)
  state.device_ms = number_text(tonumber(state.device_ms) + ran * tonumber(state.workers))
  state.placement = ''
end
if is_final(to) then
  state.finished_at_ms = now_text
else
  state.stop = 'none'
end
if to == 'queued' then
  state.queued_at_ms = now_text
elseif to == 'running' then
  state.attempt = number_text(tonumber(attempt) + 1)
  state.started_at_ms = now_text
  if placement ~= '' then
    state.placement, state.workers = placement, workers
  end
end
write_state(job, state, unpack(ARGV, 10))
if to == 'running' and attempt ~= '0' then
  redis.call('HDEL', job, 'progress', 'error_code', 'error_message', 'failure', 'result')
end

if from == 'queued' then
  remove_queued(queued, state, id)
elseif from == 'running' then
  redis.call('ZREM', running, id)
end
if to == 'queued' then
  add_queued(queued, state, id)
  note_requeued(id)
elseif to == 'running' then
  redis.call('ZADD', running, state.sequence, id)
end
add_event(events, event, now_text)
return {'ok', to, state.attempt, state.stop}
